#pragma once

#include <optional>
#include <vector>

#include "trm/data/batch.h"
#include "trm/data/sudoku_dataset.h"

namespace trm {

/// Sudoku as a model reads them: digits + 1, blank 1, labels the answer, identifier 0. Rows in
/// order in batches of `batch_size`, the last padded (labels kIgnoreLabel).
class SudokuBatches {
 public:
  SudokuBatches(std::vector<SudokuPair> pairs, int batch_size);
  std::optional<Batch> next();
  int64_t rows() const { return static_cast<int64_t>(pairs_.size()); }
  int cells() const { return pairs_.empty() ? 0 : pairs_[0].question.count(); }

 private:
  std::vector<SudokuPair> pairs_;
  int batch_size_;
  size_t position_ = 0;
};

}  // namespace trm
