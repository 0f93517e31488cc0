// The puzzles that trm eval measures on, whichever way they come.
#pragma once

#include <optional>
#include <string>

#include "trm/data/puzzle_dataset.h"
#include "trm/data/symmetry.h"
#include "trm/eval/evaluate.h"
#include "trm/train/ranks.h"

namespace trm::cli {

struct EvalData {
  std::string name;  // folder or file
  PuzzleKind kind = PuzzleKind::other;
  int64_t rows = 0;  // over all processes
  int cells = 0;
  std::vector<int64_t> ratings;  // by Batch::examples; empty where there are none
  std::string arc_folder;        // where ARC votes can be counted; "": nowhere
  /// Starts over: the batches of this process, without padding.
  std::function<NextBatch(int batch_size)> open;
};

/// A data set's split; at most `limit` puzzles. Throws std::runtime_error.
EvalData open_dataset(const std::string& folder, const std::string& split,
                      std::optional<int64_t> limit, const Ranks& ranks);
/// A CSV file of Sudoku or mazes. Throws std::runtime_error.
EvalData open_csv(const std::string& file, std::optional<int64_t> limit, const Ranks& ranks);

}  // namespace trm::cli
