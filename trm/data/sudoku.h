// Sudoku of 4x4, 6x6 and 9x9 cells: text, rules, and a solver that counts solutions.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "trm/data/numpy_random.h"

namespace trm {

/// A grid in reading order; 0 is a blank cell. Boxes are 2x2, 2 rows by 3 columns, or 3x3.
struct Sudoku {
  int size = 9;  // 4, 6 or 9
  std::array<uint8_t, 81> cells{};

  int count() const { return size * size; }
  int box_rows() const { return size == 9 ? 3 : 2; }
  int box_columns() const { return size / box_rows(); }
  int box(int cell) const {
    int row = cell / size, column = cell % size;
    return row / box_rows() * box_rows() + column / box_columns();
  }
  int givens() const;
  bool operator==(const Sudoku& other) const = default;
};

/// Reads 16, 36 or 81 characters: digits 1..size, `.` or `0` for a blank. Throws
/// std::invalid_argument that names the length, or the character and its place.
Sudoku parse_sudoku(std::string_view text);
/// Digits in reading order, `.` for a blank.
std::string to_text(const Sudoku& puzzle);

/// The first breach of the rules among the filled cells ("5 stands twice in row 3"); "" when none.
std::string first_conflict(const Sudoku& puzzle);
/// Whether every cell is filled by the rules.
bool is_solved(const Sudoku& grid);
/// Whether `answer` keeps every given of `puzzle` (same size).
bool keeps_givens(const Sudoku& puzzle, const Sudoku& answer);

struct SudokuSolutions {
  int found = 0;        // at most the number asked for
  Sudoku first;         // the first solution, when found > 0
  int64_t guesses = 0;  // cells that had to be guessed, wrong guesses included
};

/// Searches for up to `most` solutions by propagation (naked and hidden singles, locked candidates)
/// and guessing at the cell with the fewest candidates. With `rng` the guesses come in random
/// order. Throws std::runtime_error after 20 million guesses.
SudokuSolutions solve_sudoku(const Sudoku& puzzle, int most = 2, NumpyPhilox* rng = nullptr);

/// Whether a solution exists whose `cell` is not `digit`: the test that a removed given was needed.
bool has_other_solution(const Sudoku& puzzle, int cell, int digit);

/// How hard `puzzle` is: guesses on the way to its solution, the mean of `tries` random guessing
/// orders (seeded by the puzzle alone). 0: solved by propagation.
double rate_sudoku(const Sudoku& puzzle, int tries = 16);

struct SudokuPair {
  Sudoku question, answer;
};

/// Puzzle number `index` of the stream `seed`: a random solution with givens removed in random
/// order as long as it stays unique, down to `givens` (0: until every given is needed). Any puzzle
/// of a stream can be made alone.
SudokuPair generate_sudoku(int size, int givens, uint64_t seed, uint64_t index);

/// The reference's augmentation (dataset/build_sudoku_dataset.py, shuffle_sudoku) with its draws in
/// its order: digits, transposition, bands and rows, stacks and columns. For 6x6, whose boxes are
/// not square, nothing is transposed (the number is drawn all the same).
struct SudokuShuffle {
  std::array<uint8_t, 10> digit{};  // new digit of each old one; digit[0] = 0
  std::array<uint8_t, 81> from{};   // old cell of each new one
  static SudokuShuffle draw(int size, NumpyMt19937& rng);
  Sudoku operator()(const Sudoku& grid) const;
};

}  // namespace trm
