// Sudoku data sets: the reference's builder, from CSV files or our own generator.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "trm/data/dataset_writer.h"
#include "trm/data/sudoku.h"

namespace trm {

struct SudokuRow {
  SudokuPair pair;
  int64_t rating = 0;
};

/// Reads `source,question,answer,rating` (header line first; rows below `min_difficulty` left out,
/// no more than `limit` kept). Every row is checked: lengths, characters, the rules, answer against
/// question. Throws std::runtime_error that names the file and line.
std::vector<SudokuRow> read_sudoku_csv(const std::filesystem::path& file,
                                       std::optional<int64_t> min_difficulty = std::nullopt,
                                       std::optional<int64_t> limit = std::nullopt);

/// `train` + `test` distinct puzzles of the stream `seed`, in parallel; the same for any number of
/// threads. min_rating: easier ones are left out (rate_sudoku). Throws std::runtime_error when new
/// puzzles no longer turn up.
struct GeneratedSudoku {
  std::vector<SudokuPair> train, test;
};
GeneratedSudoku generate_sudokus(int size, int64_t train, int64_t test, uint64_t seed,
                                 int givens = 0, double min_rating = 0,
                                 const Progress& progress = {});

struct SudokuDatasetOptions {
  std::optional<int64_t> subsample_size = {};  // training puzzles taken at random
  int64_t num_aug = 0;                         // augmented copies of each training puzzle
  uint32_t seed = 0;                           // np.random.seed before the training split
  bool reference_layout = false;  // int64 training tokens when augmented, as the reference
};

/// Writes the data set; the training split first, from one random stream. Throws std::runtime_error
/// for an empty split or puzzles of several sizes.
void write_sudoku_dataset(const std::filesystem::path& output, std::vector<SudokuPair> train,
                          const std::vector<SudokuPair>& test, const SudokuDatasetOptions& options,
                          const Progress& progress = {});

}  // namespace trm
