#include "trm/data/sudoku.h"

#include <algorithm>
#include <bit>
#include <stdexcept>

#include <fmt/format.h>

#include "trm/io/text.h"

namespace trm {

int Sudoku::givens() const {
  return count() - static_cast<int>(std::count(cells.begin(), cells.begin() + count(), 0));
}

Sudoku parse_sudoku(std::string_view text) {
  Sudoku s;
  switch (text.size()) {
    case 16:
      s.size = 4;
      break;
    case 36:
      s.size = 6;
      break;
    case 81:
      s.size = 9;
      break;
    default:
      throw std::invalid_argument(
          fmt::format("[sudoku] a puzzle has 81 characters (36 for 6x6, 16 for 4x4), this has {}",
                      text.size()));
  }
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '.') c = '0';
    if (c < '0' || c > '0' + s.size) {
      throw std::invalid_argument(fmt::format(
          "[sudoku] character {} is '{}': digits 1-{} and . or 0 for a blank are understood", i + 1,
          printable(text.substr(i, 1)), s.size));
    }
    s.cells[i] = static_cast<uint8_t>(c - '0');
  }
  return s;
}

std::string to_text(const Sudoku& puzzle) {
  std::string text;
  for (int i = 0; i < puzzle.count(); ++i) {
    uint8_t digit = puzzle.cells[static_cast<size_t>(i)];
    text += digit ? static_cast<char>('0' + digit) : '.';
  }
  return text;
}

std::string first_conflict(const Sudoku& puzzle) {
  const char* names[] = {"row", "column", "box"};
  uint16_t seen[3][9] = {};
  for (int cell = 0; cell < puzzle.count(); ++cell) {
    int digit = puzzle.cells[static_cast<size_t>(cell)];
    if (digit == 0) continue;
    int units[] = {cell / puzzle.size, cell % puzzle.size, puzzle.box(cell)};
    for (int kind = 0; kind < 3; ++kind) {
      uint16_t& unit = seen[kind][units[kind]];
      if (unit >> digit & 1) {
        return fmt::format("{} stands twice in {} {}", digit, names[kind], units[kind] + 1);
      }
      unit = static_cast<uint16_t>(unit | 1 << digit);
    }
  }
  return "";
}

bool is_solved(const Sudoku& grid) {
  return grid.givens() == grid.count() && first_conflict(grid).empty();
}

bool keeps_givens(const Sudoku& puzzle, const Sudoku& answer) {
  if (puzzle.size != answer.size) return false;
  for (size_t i = 0; i < static_cast<size_t>(puzzle.count()); ++i) {
    if (puzzle.cells[i] && puzzle.cells[i] != answer.cells[i]) return false;
  }
  return true;
}

SudokuShuffle SudokuShuffle::draw(int size, NumpyMt19937& rng) {
  SudokuShuffle s;
  Sudoku shape;
  shape.size = size;
  rng.permutation_into(s.digit.data() + 1, size, 1);
  bool transpose = rng.rand() < 0.5 && shape.box_rows() == shape.box_columns();
  // Whole bands change places, and the lines inside each band.
  auto lines = [&](int lines_per_band, uint8_t* out) {
    int bands = size / lines_per_band;
    uint8_t band[3], line[3];
    rng.permutation_into(band, bands);
    for (int b = 0; b < bands; ++b) {
      rng.permutation_into(line, lines_per_band);
      for (int i = 0; i < lines_per_band; ++i) {
        *out++ = static_cast<uint8_t>(band[b] * lines_per_band + line[i]);
      }
    }
  };
  uint8_t row[9], column[9];
  lines(shape.box_rows(), row);
  lines(shape.box_columns(), column);
  for (int i = 0; i < size * size; ++i) {
    int r = row[i / size], c = column[i % size];
    s.from[static_cast<size_t>(i)] = static_cast<uint8_t>(transpose ? c * size + r : r * size + c);
  }
  return s;
}

Sudoku SudokuShuffle::operator()(const Sudoku& grid) const {
  Sudoku out;
  out.size = grid.size;
  for (size_t i = 0; i < static_cast<size_t>(grid.count()); ++i) {
    out.cells[i] = digit[grid.cells[from[i]]];
  }
  return out;
}

}  // namespace trm
