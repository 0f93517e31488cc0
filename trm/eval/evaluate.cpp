#include "trm/eval/evaluate.h"

#include <algorithm>
#include <stdexcept>

#include <fmt/format.h>

#include "trm/eval/act_loop.h"
#include "trm/eval/tally.h"

namespace trm {

void check_batch(const Model& model, const Batch& batch) {
  if (batch.seq_len != model.shape.seq_len) {
    throw std::invalid_argument(
        fmt::format("[evaluate] the data has {} cells a puzzle, the model {}", batch.seq_len,
                    model.shape.seq_len));
  }
  auto within = [](const std::vector<int32_t>& values, int limit) {
    return std::all_of(values.begin(), values.end(), [&](int v) { return v >= 0 && v < limit; });
  };
  if (!within(batch.inputs, model.shape.vocab_size)) {
    throw std::invalid_argument(
        fmt::format("[evaluate] the data has tokens beyond the model's vocabulary of {}",
                    model.shape.vocab_size));
  }
  if (model.io().puzzle_emb &&
      !within(batch.puzzle_identifiers, model.shape.num_puzzle_identifiers)) {
    throw std::invalid_argument(
        fmt::format("[evaluate] the data has puzzle identifiers beyond the model's {}: it was "
                    "trained on another data set",
                    model.shape.num_puzzle_identifiers));
  }
}

bool settled(std::span<const int32_t> before, std::span<const int32_t> now) {
  if (before.size() != now.size()) return false;
  size_t changed = 0;
  for (size_t i = 0; i < now.size(); ++i) changed += before[i] != now[i];
  return changed <= (now.size() + 50) / 100;
}

Evaluation evaluate(const Model& model, const NextBatch& next, const EvaluateOptions& options) {
  Evaluation total;
  total.cells = model.shape.seq_len;
  ActOptions act{options.steps.value_or(model.config.halt_max_steps)};
  Tally tally(total, options, act.steps);
  while (auto batch = next()) {
    check_batch(model, *batch);
    tally.begin(*batch);
    run_act(model, to_examples(*batch), act, [&](const RowStep& s) { return tally.see(s); });
    tally.end();
    if (options.on_batch && !options.on_batch(total.rows)) break;
  }
  return total;
}

Evaluation evaluate(const SavedAnswers& answers, const NextBatch& next,
                    const EvaluateOptions& options) {
  Evaluation total;
  total.cells = answers.cells;
  int steps = std::min(options.steps.value_or(answers.steps), answers.steps);
  Tally tally(total, options, steps);
  while (auto batch = next()) {
    if (batch->seq_len != answers.cells || total.rows + batch->rows > answers.rows) {
      throw std::invalid_argument(
          fmt::format("[evaluate] {} saved answers of {} cells do not fit data with at least {} "
                      "puzzles of {} cells",
                      answers.rows, answers.cells, total.rows + batch->rows, batch->seq_len));
    }
    tally.begin(*batch);
    auto cells = static_cast<size_t>(answers.cells), rows = static_cast<size_t>(answers.rows);
    for (int row = 0; row < batch->rows; ++row) {
      bool goes_on = true;
      for (int step = 0; step < steps && goes_on; ++step) {
        size_t at = static_cast<size_t>(step) * rows + static_cast<size_t>(total.rows + row);
        goes_on = tally.see({row, step, answers.preds.data<int32_t>() + at * cells,
                             answers.q_halt.data<float>()[at], 0});
      }
    }
    tally.end();
    if (options.on_batch && !options.on_batch(total.rows)) break;
  }
  return total;
}

}  // namespace trm
