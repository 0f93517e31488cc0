#pragma once

#include <array>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "trm/act.h"

namespace trm {

/// When a row leaves before the last step; its later steps then repeat its answer. Never used in
/// the reference's evaluation: it can cost accuracy where the model would have changed its mind.
enum class Halt {
  none,
  q,        // q_halt > 0: the model believes its answer
  settled,  // the answer is that of the step before, see settled()
};

/// Whether an answer (cells) has settled: at most 1 % of its cells, rounded (one of 81), differ
/// from the step before's, which is empty in the first step. Needs no belief: what the model cannot
/// solve stands still as well.
bool settled(std::span<const int32_t> before, std::span<const int32_t> now);

struct EvaluateOptions {
  /// ACT steps to run; none: the model's halt_max_steps, as in training.
  std::optional<int> steps;
  Halt halt = Halt::none;
  bool keep_preds = false;
  /// Whether a row's answer is final (a Sudoku that obeys the rules): it then leaves as with
  /// `halt`.
  std::function<bool(const Batch& batch, int row, const int32_t* preds)> done;
  /// Called with the last answer of each row of data: preds (cells); `exact`: equal to its label.
  std::function<void(const Batch& batch, int row, const int32_t* preds, float q_halt, bool exact)>
      on_answer;
  /// Called after each batch with the rows done so far; false ends the evaluation early.
  std::function<bool(int64_t rows)> on_batch;
};

/// What was seen after each ACT step, summed over all rows.
struct StepTotals {
  int64_t exact = 0;         // rows with every asked cell right
  double cell_accuracy = 0;  // sum over rows of the share of asked cells that are right
  int64_t q_halt_right = 0;  // rows where (q_halt >= 0) == exact
};

struct Evaluation {
  int64_t rows = 0;
  int64_t row_steps = 0;  // steps computed, summed over rows: rows * steps with Halt::none
  /// The answers at the first step with q_halt > 0 (else the last), whether rows left there or not:
  /// how many were exact, and the steps it took them.
  int64_t exact_at_q = 0, steps_to_q = 0;
  int cells = 0;
  /// Sums in the order of Metric, of the last step only: the reference's evaluation metrics.
  std::array<double, kMetricNames.size()> sums{};
  std::vector<StepTotals> steps;
  /// With keep_preds: (steps, rows, cells) tokens and (steps, rows) halting logits.
  std::vector<std::vector<int32_t>> preds;
  std::vector<std::vector<float>> q_halt;

  /// Metric by name, divided by the rows asked for something.
  double metric(Metric which) const { return sums[kCount] > 0 ? sums[which] / sums[kCount] : 0.0; }
};

using NextBatch = std::function<std::optional<Batch>()>;

/// Runs the model over all batches that `next` returns until nullopt (Batch::rows tells how many
/// rows of a padded one hold data). Throws std::invalid_argument for batches the model cannot take.
Evaluation evaluate(const Model& model, const NextBatch& next, const EvaluateOptions& options = {});

/// Answers of a model that were kept: preds (steps, rows, cells), q_halt (steps, rows), the rows in
/// the order of the batches.
struct SavedAnswers {
  int steps = 0, cells = 0;
  int64_t rows = 0;
  mx::array preds, q_halt;  // int32, float32
};

/// The same of saved answers; the losses stay 0. Throws std::invalid_argument where the batches
/// have more rows or other cells.
Evaluation evaluate(const SavedAnswers& answers, const NextBatch& next,
                    const EvaluateOptions& options = {});

/// Throws std::invalid_argument unless the batch's tokens, cells and identifiers fit the model.
void check_batch(const Model& model, const Batch& batch);

}  // namespace trm
