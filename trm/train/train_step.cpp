#include "trm/train/train_step.h"

namespace trm {

TrainState make_train_state(Model model, const Examples& first_batch, const mx::array& key,
                            bool use_ema) {
  auto weights = trainable(model);
  Arrays zeros;
  for (auto& w : weights) zeros.push_back(mx::zeros_like(w));
  auto carry = initial_carry(model, first_batch);
  return {
      std::move(model), zeros, zeros, use_ema ? std::optional(weights) : std::nullopt, carry, key};
}

Gradients begin_train_step(TrainState& state, const Examples& fresh, const Hyperparameters& h) {
  auto [key, used] = mx::random::split(state.key);
  state.key = key;
  state.step += 1;
  auto result = train_gradients(state.model, state.carry, fresh, used, h.global_batch_size);
  state.carry = result.step.carry;
  return result;
}

void finish_train_step(TrainState& state, const Arrays& gradients,
                       const std::optional<mx::array>& row_gradients, const mx::array& identifiers,
                       const Hyperparameters& h) {
  auto rate = [&](double base) {
    return learning_rate(base, state.step, h.lr_warmup_steps, h.total_steps, h.lr_min_ratio);
  };
  if (row_gradients) {
    auto& table = state.model.io().puzzle_emb->weights.value;
    table = sparse_sign_sgd(table, identifiers, *row_gradients, rate(h.puzzle_emb_lr),
                            h.puzzle_emb_weight_decay);
  }
  if (h.freeze_weights) return;
  auto weights = trainable(state.model);
  adam_atan2(weights, gradients, state.m, state.v, state.step, rate(h.lr), h.adam);
  if (state.ema) ema_update(*state.ema, weights, h.ema_rate);
  state.model = with_trainable(std::move(state.model), weights);
}

Model averaged_model(const TrainState& state) {
  return state.ema ? with_trainable(state.model, *state.ema) : state.model;
}

Arrays state_arrays(const TrainState& state) {
  Arrays out;
  for (auto& [name, array] : named_arrays(state.model)) out.push_back(array);
  auto append = [&](const Arrays& a) { out.insert(out.end(), a.begin(), a.end()); };
  append(state.m);
  append(state.v);
  if (state.ema) append(*state.ema);
  append(state.carry.z);
  append({state.carry.steps, state.carry.halted, state.carry.current.inputs,
          state.carry.current.labels, state.carry.current.puzzle_identifiers, state.key});
  return out;
}

}  // namespace trm
