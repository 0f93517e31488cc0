// What an Evaluation is added up from.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "trm/eval/act_loop.h"
#include "trm/eval/evaluate.h"

namespace trm {

// What one row of a batch has shown so far.
struct Row {
  std::vector<int32_t> preds;
  float q_halt = 0, lm_loss = 0;
  int asked = 0, right = 0, steps = 0;
  bool believed = false;  // q_halt was above 0 in some step

  bool right_everywhere() const { return right == asked; }
  bool exact() const { return asked > 0 && right == asked; }
};

inline double bce_with_logit(double x, bool target) {
  return std::max(x, 0.0) - (target ? x : 0.0) + std::log1p(std::exp(-std::abs(x)));
}

// Adds up what the rows of one batch after the other show.
class Tally {
 public:
  Tally(Evaluation& total, const EvaluateOptions& options, int steps)
      : total_(total), options_(options), steps_(steps) {
    total.steps.resize(static_cast<size_t>(steps));
    if (options.keep_preds) total.preds.resize(total.steps.size());
    if (options.keep_preds) total.q_halt.resize(total.steps.size());
  }

  void begin(const Batch& batch) {
    batch_ = &batch;
    rows_.assign(static_cast<size_t>(batch.size), {});
    auto rows = static_cast<size_t>(total_.rows + batch.rows);
    for (auto& p : total_.preds) p.resize(rows * static_cast<size_t>(batch.seq_len));
    for (auto& q : total_.q_halt) q.resize(rows);
  }

  // Whether the row goes on. Padding does where no row leaves early: the reference counts its
  // halting loss.
  bool see(const RowStep& s) {
    auto& row = rows_[static_cast<size_t>(s.row)];
    bool stands = look(row, s);
    if (s.row >= batch_->rows) return options_.halt == Halt::none && !options_.done;
    ++total_.row_steps;
    bool believes = s.q_halt > 0, last = s.step + 1 == steps_;
    if (!row.believed && (believes || last)) {
      total_.exact_at_q += row.exact();
      total_.steps_to_q += row.steps;
    }
    row.believed = row.believed || believes;
    bool done = options_.done && options_.done(*batch_, s.row, s.preds);
    bool leaves = done || (options_.halt == Halt::q && believes) ||
                  (options_.halt == Halt::settled && stands);
    count(row, s.row, s.step, leaves ? steps_ : s.step + 1);
    return !leaves;
  }

  void end() {
    bool padding_counts = options_.halt == Halt::none && !options_.done;
    for (size_t i = 0; i < rows_.size(); ++i) {
      auto& row = rows_[i];
      if (i >= static_cast<size_t>(batch_->rows) && !padding_counts) break;
      total_.sums[kLmLoss] += row.lm_loss;
      total_.sums[kQHaltLoss] += row.steps ? bce_with_logit(row.q_halt, row.right_everywhere()) : 0;
      if (row.asked == 0) continue;
      total_.sums[kCount] += 1;
      total_.sums[kAccuracy] += static_cast<double>(row.right) / row.asked;
      total_.sums[kExactAccuracy] += row.exact();
      total_.sums[kQHaltAccuracy] += (row.q_halt >= 0) == row.exact();
      total_.sums[kSteps] += row.steps;
    }
    for (int i = 0; options_.on_answer && i < batch_->rows; ++i) {
      auto& row = rows_[static_cast<size_t>(i)];
      options_.on_answer(*batch_, i, row.preds.data(), row.q_halt, row.exact());
    }
    total_.rows += batch_->rows;
  }

 private:
  // Takes over what the step showed; whether the answer has settled.
  bool look(Row& row, const RowStep& s) const {
    auto cells = static_cast<size_t>(batch_->seq_len);
    bool stands = settled(row.preds, {s.preds, cells});
    row.preds.assign(s.preds, s.preds + cells);
    row.q_halt = s.q_halt;
    row.lm_loss = s.lm_loss;
    row.steps = s.step + 1;
    row.asked = row.right = 0;
    const int32_t* labels = &batch_->labels[static_cast<size_t>(s.row) * cells];
    for (size_t i = 0; i < cells; ++i) {
      row.asked += labels[i] != kIgnoreLabel;
      row.right += labels[i] != kIgnoreLabel && s.preds[i] == labels[i];
    }
    return stands;
  }

  void count(const Row& row, int index, int from, int to) {
    auto at = static_cast<size_t>(total_.rows + index);
    for (auto step = static_cast<size_t>(from); step < static_cast<size_t>(to); ++step) {
      auto& seen = total_.steps[step];
      seen.exact += row.exact();
      seen.cell_accuracy += row.asked ? static_cast<double>(row.right) / row.asked : 0.0;
      seen.q_halt_right += (row.q_halt >= 0) == row.exact();
      if (!options_.keep_preds) continue;
      std::copy(row.preds.begin(), row.preds.end(),
                total_.preds[step].begin() + static_cast<std::ptrdiff_t>(at * row.preds.size()));
      total_.q_halt[step][at] = row.q_halt;
    }
  }

  Evaluation& total_;
  const EvaluateOptions& options_;
  int steps_;
  const Batch* batch_ = nullptr;
  std::vector<Row> rows_;
};

}  // namespace trm
