#include "trm/serve/live_batch.h"

namespace trm::serve {

namespace {

// The probability of each cell's answer: (B, S, V) logits -> (B, S) float32.
mx::array confidence(LossKind loss, const mx::array& logits) {
  auto x = mx::astype(logits, mx::float32);
  if (loss == LossKind::softmax_cross_entropy) return mx::max(mx::softmax(x, -1), -1);
  auto one = mx::array(1.0f), zero = mx::array(0.0f);
  auto s = mx::where(x < zero, one / (one - mx::minimum(x, zero)), x + one);
  return mx::max(s, -1) / mx::sum(s, -1);
}

}  // namespace

LiveBatch::LiveBatch(Model model) : model_(std::move(model)) {
  Question blank;
  blank.tokens.assign(static_cast<size_t>(model_.shape.seq_len), 0);
  join({blank});
  step();
  keep({});
}

void LiveBatch::join(const std::vector<Question>& questions) {
  if (questions.empty()) return;
  Batch batch;
  batch.size = batch.rows = batch.global_rows = static_cast<int>(questions.size());
  batch.seq_len = model_.shape.seq_len;
  for (auto& q : questions) {
    batch.inputs.insert(batch.inputs.end(), q.tokens.begin(), q.tokens.end());
    batch.puzzle_identifiers.push_back(q.identifier);
  }
  batch.labels.assign(batch.inputs.size(), kIgnoreLabel);
  auto fresh = initial_carry(model_, to_examples(batch));
  fresh.halted = mx::zeros_like(fresh.halted);  // its latents are the initial ones already
  carry_ = carry_ ? joined({*carry_, fresh}) : fresh;
}

std::vector<RowStep> LiveBatch::step() {
  if (!carry_) return {};
  auto r = evaluate_step(model_, *carry_, carry_->current);
  auto sure = mx::contiguous(confidence(model_.config.loss, r.answer.logits));
  auto preds = mx::contiguous(r.preds);
  auto q_halt = mx::contiguous(mx::astype(r.answer.q_halt, mx::float32));
  carry_ = r.carry;
  carry_->halted = mx::zeros_like(carry_->halted);  // who leaves is decided by keep()
  Arrays wanted = carry_->z;
  wanted.insert(wanted.end(),
                {preds, sure, q_halt, carry_->steps, carry_->halted, carry_->current.inputs,
                 carry_->current.labels, carry_->current.puzzle_identifiers});
  mx::eval(wanted);
  size_t cells = model_.shape.seq_len;
  std::vector<RowStep> out(preds.shape(0));
  for (size_t i = 0; i < out.size(); ++i) {
    auto p = preds.data<int32_t>() + i * cells;
    auto c = sure.data<float>() + i * cells;
    out[i] = {{p, p + cells}, {c, c + cells}, q_halt.data<float>()[i]};
  }
  return out;
}

void LiveBatch::keep(const std::vector<int>& rows) {
  if (!carry_) return;
  if (rows.empty()) {
    carry_.reset();
    return;
  }
  if (static_cast<int>(rows.size()) == carry_->steps.shape(0)) return;
  carry_ = take_rows(*carry_, rows);
}

}  // namespace trm::serve
