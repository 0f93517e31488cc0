#pragma once

#include <array>
#include <functional>
#include <optional>
#include <vector>

#include "trm/act.h"

namespace trm {

struct EvaluateOptions {
  /// ACT steps to run; none: the model's halt_max_steps, as in training.
  std::optional<int> steps;
  bool keep_preds = false;
  /// Leave a row once it is settled: q_halt > 0 and the same answer as the step before. Its later
  /// steps repeat that one. Never used in the reference's evaluation; it can cost accuracy where
  /// the model would have changed its mind.
  bool early_stop = false;
  /// Called with the last answer of each row of data: preds (cells).
  std::function<void(const Batch& batch, int row, const int32_t* preds, float q_halt)> on_answer;
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
  int64_t row_steps = 0;  // steps computed, summed over rows: rows * steps without early_stop
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

/// Runs the model over all batches, every row for the same number of steps. `next` returns batches
/// of one size (the last padded: Batch::rows tells how many rows hold data) until nullopt. Throws
/// std::invalid_argument for batches the model cannot take.
Evaluation evaluate(const Model& model, const std::function<std::optional<Batch>()>& next,
                    const EvaluateOptions& options = {});

/// Throws std::invalid_argument unless the batch's tokens, cells and identifiers fit the model.
void check_batch(const Model& model, const Batch& batch);

}  // namespace trm
