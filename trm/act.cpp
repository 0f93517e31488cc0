#include "trm/act.h"

#include "trm/nn/losses.h"

namespace trm {

namespace {

mx::array rowwise(const mx::array& mask, const mx::array& like) {  // (B) -> (B, 1, …)
  mx::Shape shape(like.ndim(), 1);
  shape[0] = mask.shape(0);
  return mx::reshape(mask, shape);
}

mx::array select(const mx::array& mask, const mx::array& yes, const mx::array& no) {
  return mx::where(rowwise(mask, no), yes, no);
}

mx::array rows_from(const mx::array& a, int begin, int end) {
  if (begin == 0 && end == a.shape(0)) return a;
  mx::Shape start(a.ndim(), 0), stop = a.shape();
  start[0] = begin;
  stop[0] = end;
  return mx::slice(a, start, stop);
}

mx::array count_of(const mx::array& mask) { return mx::sum(mx::astype(mask, mx::float32)); }

// Which rows halt after this step, with `steps` already counted up. In training also by the model's
// own judgement, but a share of the rows must first explore for a random number of steps.
mx::array halting(const Model& model, const Answer& answer, const mx::array& steps,
                  const Exploration* exploration) {
  const auto& c = model.config;
  auto halted = steps >= mx::array(c.halt_max_steps);
  bool baseline = c.kind == ModelKind::transformers_baseline;
  bool by_q = baseline ? c.act_enabled && (exploration || c.act_inference) : exploration != nullptr;
  if (!by_q || c.halt_max_steps <= 1) return halted;
  auto wants = baseline || model.uses_q_continue() ? answer.q_halt > answer.q_continue
                                                   : answer.q_halt > mx::array(0.0f);
  halted = mx::logical_or(halted, wants);
  if (exploration) {
    int rows = steps.shape(0), of = exploration->of > 0 ? exploration->of : rows;
    auto [k1, k2] = mx::random::split(exploration->key);
    auto explores = mx::random::uniform({of}, mx::float32, k1) < mx::array(c.halt_exploration_prob);
    auto least =
        mx::random::randint(mx::array(2), mx::array(c.halt_max_steps + 1), {of}, mx::int32, k2);
    least = rows_from(mx::where(explores, least, mx::array(0)), exploration->first_row,
                      exploration->first_row + rows);
    halted = mx::logical_and(halted, steps >= least);
  }
  return halted;
}

// What q_continue should say: the better of halting and continuing after one more step.
mx::array continue_target(const Model& model, const Latents& z, const mx::array& x,
                          const mx::array& steps) {
  auto next = model.io().read(model.with_gradient(model.without_gradient(z, x), x)[0]);
  auto last = steps >= mx::array(model.config.halt_max_steps);
  return mx::sigmoid(mx::where(last, next.q_halt, mx::maximum(next.q_halt, next.q_continue)));
}

struct Judged {
  mx::array loss, metrics, preds;
};

Judged judge(const Model& model, const Answer& answer, const mx::array& labels,
             const mx::array& steps, const mx::array& halted,
             const std::optional<mx::array>& target_q_continue) {
  auto asked = labels != mx::array(kIgnoreLabel);
  auto asked_count = mx::sum(mx::astype(asked, mx::int32), -1);
  auto divisor = mx::astype(mx::maximum(asked_count, mx::array(1)), mx::float32);
  auto preds = mx::astype(mx::argmax(answer.logits, -1), mx::int32);
  auto right = mx::logical_and(asked, preds == labels);
  auto right_count = mx::sum(mx::astype(right, mx::int32), -1);
  auto exact = right_count == asked_count;
  auto valid = mx::logical_and(halted, asked_count > mx::array(0));

  auto lm_loss = mx::sum(row_lm_loss(model, answer, labels));
  auto exact_f = mx::astype(exact, mx::float32);
  auto q_halt_loss = binary_cross_entropy_with_logits(answer.q_halt, exact_f);
  auto q_continue_loss =
      target_q_continue ? binary_cross_entropy_with_logits(answer.q_continue, *target_q_continue)
                        : mx::array(0.0f);

  auto says_halt = answer.q_halt >= mx::array(0.0f);
  auto zero = mx::array(0.0f);
  auto metrics =
      mx::stack({count_of(valid),
                 mx::sum(mx::where(valid, mx::astype(right_count, mx::float32) / divisor, zero)),
                 count_of(mx::logical_and(valid, exact)),
                 count_of(mx::logical_and(valid, says_halt == exact)),
                 mx::sum(mx::where(valid, mx::astype(steps, mx::float32), zero)), lm_loss,
                 q_halt_loss, q_continue_loss});
  auto q_loss = mx::array(model.config.q_loss_weight) * (q_halt_loss + q_continue_loss);
  return {lm_loss + q_loss, metrics, preds};
}

}  // namespace

Examples to_examples(const Batch& batch) {
  mx::Shape grid{batch.size, batch.seq_len};
  return {mx::array(batch.inputs.data(), grid, mx::int32),
          mx::array(batch.labels.data(), grid, mx::int32),
          mx::array(batch.puzzle_identifiers.data(), {batch.size}, mx::int32)};
}

Carry initial_carry(const Model& model, const Examples& fresh) {
  int B = fresh.inputs.shape(0);
  mx::Shape shape{B, model.tokens(), model.config.hidden_size};
  Latents z;
  for (auto& start : model.initial()) z.push_back(mx::broadcast_to(start, shape));
  return {z, mx::zeros({B}, mx::int32), mx::ones({B}, mx::bool_), fresh};
}

Carry replace_halted(const Model& model, const Carry& carry, const Examples& fresh) {
  Carry next = carry;
  auto initial = model.initial();
  for (size_t i = 0; i < next.z.size(); ++i) {
    next.z[i] = select(carry.halted, initial[i], carry.z[i]);
  }
  next.steps = mx::where(carry.halted, mx::array(0), carry.steps);
  next.current.inputs = select(carry.halted, fresh.inputs, carry.current.inputs);
  next.current.labels = select(carry.halted, fresh.labels, carry.current.labels);
  next.current.puzzle_identifiers =
      select(carry.halted, fresh.puzzle_identifiers, carry.current.puzzle_identifiers);
  return next;
}

std::optional<mx::array> puzzle_rows(const Model& model, const mx::array& identifiers) {
  auto& embedding = model.io().puzzle_emb;
  if (!embedding) return std::nullopt;
  return mx::take(embedding->weights.value, identifiers, 0);
}

StepResult evaluate_step(const Model& model, const Carry& carry, const Examples& fresh) {
  auto next = replace_halted(model, carry, fresh);
  auto x =
      model.io().embed(next.current.inputs, puzzle_rows(model, next.current.puzzle_identifiers));
  next.z = model.with_gradient(model.without_gradient(next.z, x), x);
  auto answer = model.io().read(next.z[0]);
  next.steps = next.steps + mx::array(1);
  next.halted = halting(model, answer, next.steps, nullptr);
  auto judged = judge(model, answer, next.current.labels, next.steps, next.halted, std::nullopt);
  return {next, answer, judged.preds, judged.metrics, judged.loss};
}

mx::array row_lm_loss(const Model& model, const Answer& answer, const mx::array& labels) {
  auto asked = mx::sum(mx::astype(labels != mx::array(kIgnoreLabel), mx::float32), -1);
  auto per_token = token_loss(model.config.loss, answer.logits, labels, kIgnoreLabel,
                              model.config.label_smoothing);
  return mx::sum(per_token, -1) / mx::maximum(asked, mx::array(1.0f));
}

Gradients train_gradients(const Model& model, const Carry& carry, const Examples& fresh,
                          const Exploration& exploration, int global_batch_size) {
  auto next = replace_halted(model, carry, fresh);
  auto rows = puzzle_rows(model, next.current.puzzle_identifiers);
  next.steps = next.steps + mx::array(1);

  // The cycles without gradient run outside the differentiated function, which would keep them all.
  auto z = model.without_gradient(next.z, model.io().embed(next.current.inputs, rows));

  auto leaves = trainable(model);
  size_t weights = leaves.size(), latents = z.size();
  if (rows) leaves.push_back(*rows);
  mx::array scale(1.0f / static_cast<float>(global_batch_size));

  auto forward = [&](const Arrays& traced) -> Arrays {
    auto m = with_trainable(model, traced);
    auto x =
        m.io().embed(next.current.inputs, rows ? std::optional(traced[weights]) : std::nullopt);
    auto out = m.with_gradient(z, x);
    auto answer = m.io().read(out[0]);
    auto halted = halting(model, answer, next.steps, &exploration);
    std::optional<mx::array> target;
    if (model.uses_q_continue()) {
      Latents detached;
      for (auto& a : out) detached.push_back(mx::stop_gradient(a));
      target = mx::stop_gradient(continue_target(m, detached, mx::stop_gradient(x), next.steps));
    }
    auto judged = judge(model, answer, next.current.labels, next.steps, halted, target);
    Arrays results{judged.loss * scale, judged.loss,   judged.metrics,   judged.preds, halted,
                   answer.logits,       answer.q_halt, answer.q_continue};
    results.insert(results.end(), out.begin(), out.end());
    return results;
  };
  std::vector<int> argnums(leaves.size());
  for (size_t i = 0; i < argnums.size(); ++i) argnums[i] = static_cast<int>(i);
  auto [values, grads] = mx::value_and_grad(forward, argnums)(leaves);

  next.halted = values[4];
  next.z.assign(values.begin() + 8, values.begin() + 8 + static_cast<long>(latents));
  Answer answer{values[5], values[6], values[7]};
  std::optional<mx::array> row_gradient;
  if (rows) {
    row_gradient = grads.back();
    grads.pop_back();
  }
  return {{next, answer, values[3], values[2], values[1]}, grads, row_gradient};
}

Examples rows_of(const Examples& e, int begin, int end) {
  return {rows_from(e.inputs, begin, end), rows_from(e.labels, begin, end),
          rows_from(e.puzzle_identifiers, begin, end)};
}

Carry rows_of(const Carry& carry, int begin, int end) {
  Latents z;
  for (auto& a : carry.z) z.push_back(rows_from(a, begin, end));
  return {z, rows_from(carry.steps, begin, end), rows_from(carry.halted, begin, end),
          rows_of(carry.current, begin, end)};
}

Carry take_rows(const Carry& carry, const std::vector<int>& positions) {
  mx::array rows(positions.data(), {static_cast<int>(positions.size())}, mx::int32);
  auto take = [&](const mx::array& a) { return mx::take(a, rows, 0); };
  Carry out = carry;
  for (auto& z : out.z) z = take(z);
  out.steps = take(carry.steps), out.halted = take(carry.halted);
  out.current = {take(carry.current.inputs), take(carry.current.labels),
                 take(carry.current.puzzle_identifiers)};
  return out;
}

Carry joined(const std::vector<Carry>& parts) {
  if (parts.size() == 1) return parts[0];
  auto join = [&](auto&& member) {
    Arrays all;
    for (auto& part : parts) all.push_back(member(part));
    return mx::concatenate(all, 0);
  };
  Latents z;
  for (size_t i = 0; i < parts[0].z.size(); ++i) {
    z.push_back(join([&](const Carry& c) { return c.z[i]; }));
  }
  return {z,
          join([](const Carry& c) { return c.steps; }),
          join([](const Carry& c) { return c.halted; }),
          {join([](const Carry& c) { return c.current.inputs; }),
           join([](const Carry& c) { return c.current.labels; }),
           join([](const Carry& c) { return c.current.puzzle_identifiers; })}};
}

}  // namespace trm
