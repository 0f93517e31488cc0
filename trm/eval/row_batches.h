// Puzzles that come from no data set folder, as batches.
#pragma once

#include <optional>
#include <vector>

#include "trm/data/batch.h"
#include "trm/data/maze.h"
#include "trm/data/sudoku.h"

namespace trm {

/// One puzzle as a model reads it.
struct PuzzleRow {
  std::vector<int32_t> inputs, labels;  // (cells) tokens; labels may be kIgnoreLabel
  int32_t identifier = 0;
};

/// Digits + 1, blank 1.
PuzzleRow puzzle_row(const SudokuPair& pair);
/// MazeToken.
PuzzleRow puzzle_row(const MazePair& pair);

/// Rows in order in batches of `batch_size`, the last one as short as it comes.
class RowBatches {
 public:
  /// Throws std::invalid_argument for rows of several sizes or a batch size below 1.
  RowBatches(std::vector<PuzzleRow> puzzles, int batch_size);
  std::optional<Batch> next();
  int64_t rows() const { return static_cast<int64_t>(puzzles_.size()); }
  int cells() const { return puzzles_.empty() ? 0 : static_cast<int>(puzzles_[0].inputs.size()); }

 private:
  std::vector<PuzzleRow> puzzles_;
  size_t batch_size_, position_ = 0;
};

}  // namespace trm
