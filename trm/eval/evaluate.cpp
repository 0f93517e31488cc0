#include "trm/eval/evaluate.h"

#include <algorithm>
#include <stdexcept>

#include <fmt/format.h>

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

Evaluation evaluate(const Model& model, const std::function<std::optional<Batch>()>& next,
                    const EvaluateOptions& options) {
  auto m = model;
  if (options.steps) m.config.halt_max_steps = *options.steps;
  int steps = m.config.halt_max_steps;
  Evaluation total;
  total.cells = m.shape.seq_len;
  total.steps.resize(steps);
  if (options.keep_preds) total.preds.resize(steps), total.q_halt.resize(steps);

  while (auto batch = next()) {
    check_batch(m, *batch);
    auto examples = to_examples(*batch);
    auto carry = initial_carry(m, examples);
    int rows = batch->rows, cells = batch->seq_len;
    for (int step = 0; step < steps; ++step) {
      auto r = evaluate_step(m, carry, examples);
      carry = r.carry;
      carry.halted = mx::zeros_like(carry.halted);  // a row that is done goes on, never starts anew
      auto q = mx::contiguous(r.answer.q_halt);
      Arrays wanted = carry.z;
      wanted.insert(wanted.end(), {r.preds, q, r.metrics, carry.steps});
      mx::eval(wanted);
      const int32_t* preds = r.preds.data<int32_t>();
      const float* q_halt = q.data<float>();
      auto& seen = total.steps[step];
      for (int row = 0; row < rows; ++row) {
        int asked = 0, right = 0;
        for (int i = row * cells; i < (row + 1) * cells; ++i) {
          asked += batch->labels[i] != kIgnoreLabel;
          right += batch->labels[i] != kIgnoreLabel && preds[i] == batch->labels[i];
        }
        bool exact = asked > 0 && right == asked;
        seen.exact += exact;
        seen.cell_accuracy += asked ? static_cast<double>(right) / asked : 0.0;
        seen.q_halt_right += (q_halt[row] >= 0) == exact;
      }
      if (options.keep_preds) {
        total.preds[step].insert(total.preds[step].end(), preds, preds + rows * cells);
        total.q_halt[step].insert(total.q_halt[step].end(), q_halt, q_halt + rows);
      }
      if (step + 1 == steps) {
        for (size_t k = 0; k < total.sums.size(); ++k) {
          total.sums[k] += r.metrics.data<float>()[k];
        }
      }
    }
    total.rows += rows;
    if (options.on_batch && !options.on_batch(total.rows)) break;
  }
  return total;
}

}  // namespace trm
