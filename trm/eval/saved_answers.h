// Answers of a model in a file: kept by `trm eval --save-preds`, by pretrain's eval_save_outputs,
// or by the reference.
#pragma once

#include <filesystem>
#include <optional>

#include "trm/eval/evaluate.h"

namespace trm {

struct SavedFile {
  SavedAnswers answers;
  /// What the file says about its own rows; all three or none.
  struct Rows {
    mx::array inputs, labels, puzzle_identifiers;  // (rows, cells), (rows, cells), (rows) int32
  };
  std::optional<Rows> rows;
};

/// Reads `preds` (steps, rows, cells) or (rows, cells), `q_halt_logits` without the cells, and,
/// where they stand there, `inputs`, `puzzle_identifiers` and `labels` (none: nothing is asked),
/// from any file that load_checkpoint reads. Throws std::runtime_error for other shapes.
SavedFile read_saved_answers(const std::filesystem::path& file);

/// The rows that the file holds, `batch_size` at a time.
NextBatch batches_of(const SavedFile& file, int batch_size);

}  // namespace trm
