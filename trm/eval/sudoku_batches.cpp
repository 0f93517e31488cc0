#include "trm/eval/sudoku_batches.h"

#include <algorithm>
#include <stdexcept>

#include <fmt/format.h>

namespace trm {

SudokuBatches::SudokuBatches(std::vector<SudokuPair> pairs, int batch_size)
    : pairs_(std::move(pairs)), batch_size_(batch_size) {
  if (batch_size < 1) {
    throw std::invalid_argument(fmt::format("[evaluate] batch size {} is below 1", batch_size));
  }
  for (auto& pair : pairs_) {
    if (pair.question.size != pairs_[0].question.size) {
      throw std::invalid_argument("[evaluate] the puzzles are of several sizes");
    }
  }
  batch_size_ = static_cast<int>(std::min<size_t>(batch_size, std::max<size_t>(1, pairs_.size())));
}

std::optional<Batch> SudokuBatches::next() {
  if (position_ >= pairs_.size()) return std::nullopt;
  int cells = this->cells();
  Batch batch;
  batch.size = batch_size_;
  batch.seq_len = cells;
  batch.rows = static_cast<int>(std::min<size_t>(batch_size_, pairs_.size() - position_));
  batch.global_rows = batch.rows;
  batch.inputs.assign(static_cast<size_t>(batch_size_) * cells, 0);
  batch.labels.assign(static_cast<size_t>(batch_size_) * cells, kIgnoreLabel);
  batch.puzzle_identifiers.assign(batch_size_, 0);
  for (int row = 0; row < batch.rows; ++row) {
    const auto& pair = pairs_[position_];
    batch.examples.push_back(static_cast<int64_t>(position_++));
    for (int i = 0; i < cells; ++i) {
      batch.inputs[row * cells + i] = pair.question.cells[i] + 1;
      batch.labels[row * cells + i] = pair.answer.cells[i] + 1;
    }
  }
  return batch;
}

}  // namespace trm
