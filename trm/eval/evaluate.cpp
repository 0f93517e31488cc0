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

namespace {

// What one row of a batch showed in a step, kept to be repeated once the row has stopped.
struct Row {
  std::vector<int32_t> preds;
  float q_halt = 0;
  int asked = 0, right = 0;

  bool exact() const { return asked > 0 && right == asked; }
};

void look(Row& row, const Batch& batch, int index, const int32_t* preds, float q_halt) {
  size_t cells = batch.seq_len;
  const int32_t* labels = &batch.labels[index * cells];
  row.q_halt = q_halt;
  row.preds.assign(preds, preds + cells);
  row.asked = row.right = 0;
  for (size_t i = 0; i < cells; ++i) {
    row.asked += labels[i] != kIgnoreLabel;
    row.right += labels[i] != kIgnoreLabel && preds[i] == labels[i];
  }
}

void count(Evaluation& total, int step, const std::vector<Row>& rows, bool keep_preds) {
  auto& seen = total.steps[step];
  for (const auto& row : rows) {
    seen.exact += row.exact();
    seen.cell_accuracy += row.asked ? static_cast<double>(row.right) / row.asked : 0.0;
    seen.q_halt_right += (row.q_halt >= 0) == row.exact();
    if (!keep_preds) continue;
    total.preds[step].insert(total.preds[step].end(), row.preds.begin(), row.preds.end());
    total.q_halt[step].push_back(row.q_halt);
  }
}

Carry take_rows(const Carry& carry, const mx::array& rows) {
  auto take = [&](const mx::array& a) { return mx::take(a, rows, 0); };
  Carry out = carry;
  for (auto& z : out.z) z = take(z);
  out.steps = take(carry.steps), out.halted = take(carry.halted);
  out.current = {take(carry.current.inputs), take(carry.current.labels),
                 take(carry.current.puzzle_identifiers)};
  return out;
}

// Metrics of the rows of `r` that `rows` lists, as if each had halted in this step.
mx::array metrics_of(const Model& model, const StepResult& r, const mx::array& rows) {
  auto carry = take_rows(r.carry, rows);
  auto take = [&](const mx::array& a) { return mx::take(a, rows, 0); };
  Answer answer{take(r.answer.logits), take(r.answer.q_halt), take(r.answer.q_continue)};
  return step_metrics(model, answer, carry.current.labels, carry.steps);
}

}  // namespace

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
    std::vector<Row> rows(batch->rows);
    // Which row of the batch each row being computed is; padding rows go on to the end.
    std::vector<int> running(batch->size);
    for (int i = 0; i < batch->size; ++i) running[i] = i;
    auto add_metrics = [&](const mx::array& metrics) {
      for (size_t k = 0; k < total.sums.size(); ++k) total.sums[k] += metrics.data<float>()[k];
    };
    for (int step = 0; step < steps; ++step) {
      if (!running.empty()) {
        auto r = evaluate_step(m, carry, examples);
        carry = r.carry;
        carry.halted = mx::zeros_like(carry.halted);  // a done row goes on, never starts anew
        examples = carry.current;
        auto q = mx::contiguous(r.answer.q_halt);
        Arrays wanted = carry.z;
        wanted.insert(wanted.end(), {r.preds, q, r.metrics, carry.steps});
        mx::eval(wanted);
        std::vector<int> stopping, going, still;
        for (int i = 0; i < static_cast<int>(running.size()); ++i) {
          int index = running[i];
          bool settled = false;
          if (index < batch->rows) {
            auto& row = rows[index];
            auto before = row.preds;
            look(row, *batch, index, r.preds.data<int32_t>() + static_cast<size_t>(i) * total.cells,
                 q.data<float>()[i]);
            settled = row.q_halt > 0 && row.preds == before;
            total.row_steps += 1;
          }
          bool stops = options.early_stop && step + 1 < steps && (settled || index >= batch->rows);
          if (stops && index < batch->rows) stopping.push_back(i);
          if (!stops) going.push_back(i), still.push_back(index);
        }
        if (step + 1 == steps) add_metrics(r.metrics);
        if (going.size() < running.size()) {
          auto rows_of = [](const std::vector<int>& v) {
            return mx::array(v.data(), {static_cast<int>(v.size())}, mx::int32);
          };
          if (!stopping.empty()) {
            auto metrics = metrics_of(m, r, rows_of(stopping));
            mx::eval(metrics);
            add_metrics(metrics);
          }
          running = still;
          if (!going.empty()) {
            carry = take_rows(carry, rows_of(going));
            examples = carry.current;
          }
        }
      }
      count(total, step, rows, options.keep_preds);
    }
    for (int row = 0; options.on_answer && row < batch->rows; ++row) {
      options.on_answer(*batch, row, rows[row].preds.data(), rows[row].q_halt);
    }
    total.rows += batch->rows;
    if (options.on_batch && !options.on_batch(total.rows)) break;
  }
  return total;
}

}  // namespace trm
