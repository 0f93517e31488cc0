// What a run leaves besides metrics and weights.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "trm/data/puzzle_dataset.h"
#include "trm/eval/arc_voting.h"
#include "trm/eval/evaluate.h"
#include "trm/train/config.h"
#include "trm/train/ranks.h"
#include "trm/train/train_step.h"

namespace trm {

/// What eval_save_outputs may name; throws std::invalid_argument for other names.
void check_outputs(const std::vector<std::string>& names);

/// An .npz of the named outputs, one row an example in the test set's order: inputs, labels,
/// puzzle_identifiers, preds (steps, rows, cells), q_halt_logits (steps, rows).
void save_outputs(const std::filesystem::path& file, const std::vector<std::string>& names,
                  const PuzzleDataset& test, const Evaluation& evaluation);

/// The ARC evaluators of a run; none, with a notice that says why, where its data have no
/// test_puzzles.json.
std::vector<ArcVoting> make_evaluators(const PretrainConfig& config,
                                       const std::function<void(const std::string&)>& notice);

/// "loss is nan at step N", the tensors that are not finite, and the last good checkpoint.
std::string not_finite_message(const TrainState& state, int64_t step, double loss,
                               int64_t saved_step);

/// The kept answers of all processes on each of them, in the test set's order: EvalIterator gave
/// every process its slice of each global batch. `rows`: examples evaluated by all together.
void gather_answers(const Ranks& ranks, int64_t rows, int64_t global_batch_size,
                    Evaluation& evaluation);

/// The votes of all processes, on each of them.
ArcVoting gathered(const Ranks& ranks, ArcVoting votes);

/// The carry of the whole global batch.
Carry gathered(const Ranks& ranks, const Carry& carry);

}  // namespace trm
