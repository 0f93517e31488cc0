#include "trm/eval/row_batches.h"

#include <algorithm>
#include <stdexcept>

#include <fmt/format.h>

namespace trm {

PuzzleRow puzzle_row(const SudokuPair& pair) {
  PuzzleRow row;
  for (size_t i = 0; i < static_cast<size_t>(pair.question.count()); ++i) {
    row.inputs.push_back(pair.question.cells[i] + 1);
    row.labels.push_back(pair.answer.cells[i] + 1);
  }
  return row;
}

PuzzleRow puzzle_row(const MazePair& pair) {
  return {{pair.question.cells.begin(), pair.question.cells.end()},
          {pair.answer.cells.begin(), pair.answer.cells.end()}};
}

RowBatches::RowBatches(std::vector<PuzzleRow> puzzles, int batch_size)
    : puzzles_(std::move(puzzles)), batch_size_(static_cast<size_t>(batch_size)) {
  if (batch_size < 1) {
    throw std::invalid_argument(fmt::format("[evaluate] batch size {} is below 1", batch_size));
  }
  for (auto& p : puzzles_) {
    if (p.inputs.size() != puzzles_[0].inputs.size() || p.labels.size() != p.inputs.size()) {
      throw std::invalid_argument("[evaluate] the puzzles are of several sizes");
    }
  }
}

std::optional<Batch> RowBatches::next() {
  if (position_ >= puzzles_.size()) return std::nullopt;
  Batch batch;
  batch.seq_len = cells();
  batch.rows = static_cast<int>(std::min(batch_size_, puzzles_.size() - position_));
  batch.size = batch.global_rows = batch.rows;
  for (int row = 0; row < batch.rows; ++row, ++position_) {
    const auto& p = puzzles_[position_];
    batch.inputs.insert(batch.inputs.end(), p.inputs.begin(), p.inputs.end());
    batch.labels.insert(batch.labels.end(), p.labels.begin(), p.labels.end());
    batch.puzzle_identifiers.push_back(p.identifier);
    batch.examples.push_back(static_cast<int64_t>(position_));
  }
  return batch;
}

}  // namespace trm
