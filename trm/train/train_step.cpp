#include "trm/train/train_step.h"

#include <algorithm>

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

namespace {

/// Parts of `size` rows one after the other, each evaluated before the next is begun.
Gradients in_parts(const TrainState& state, const Examples& fresh, const mx::array& key,
                   const Hyperparameters& h, int rows, int size) {
  std::vector<Carry> carries;
  Arrays weights, row_gradients, preds, logits, q_halt, q_continue;
  std::optional<mx::array> metrics, loss;
  for (int begin = 0; begin < rows; begin += size) {
    int end = std::min(begin + size, rows);
    auto part =
        train_gradients(state.model, rows_of(state.carry, begin, end), rows_of(fresh, begin, end),
                        {key, h.first_row + begin, h.global_batch_size}, h.global_batch_size);
    for (size_t i = 0; i < part.weights.size(); ++i) {
      if (begin == 0) {
        weights.push_back(part.weights[i]);
      } else {
        weights[i] = weights[i] + part.weights[i];
      }
    }
    metrics = metrics ? *metrics + part.step.metrics : part.step.metrics;
    loss = loss ? *loss + part.step.loss : part.step.loss;
    carries.push_back(part.step.carry);
    if (part.puzzle_rows) row_gradients.push_back(*part.puzzle_rows);
    preds.push_back(part.step.preds);
    logits.push_back(part.step.answer.logits);
    q_halt.push_back(part.step.answer.q_halt);
    q_continue.push_back(part.step.answer.q_continue);
    Arrays done = weights;
    done.insert(done.end(), carries.back().z.begin(), carries.back().z.end());
    for (auto& a : {*metrics, *loss, preds.back(), logits.back(), q_halt.back(), q_continue.back(),
                    carries.back().halted}) {
      done.push_back(a);
    }
    if (part.puzzle_rows) done.push_back(*part.puzzle_rows);
    mx::eval(done);
  }
  Answer answer{mx::concatenate(logits, 0), mx::concatenate(q_halt, 0),
                mx::concatenate(q_continue, 0)};
  std::optional<mx::array> all_rows;
  if (!row_gradients.empty()) all_rows = mx::concatenate(row_gradients, 0);
  return {{joined(carries), answer, mx::concatenate(preds, 0), *metrics, *loss}, weights, all_rows};
}

}  // namespace

Gradients begin_train_step(TrainState& state, const Examples& fresh, const Hyperparameters& h) {
  auto [key, used] = mx::random::split(state.key);
  state.key = key;
  state.step += 1;
  int rows = fresh.inputs.shape(0);
  auto result =
      h.micro_batch_size > 0 && h.micro_batch_size < rows
          ? in_parts(state, fresh, used, h, rows, h.micro_batch_size)
          : train_gradients(state.model, state.carry, fresh,
                            {used, h.first_row, h.global_batch_size}, h.global_batch_size);
  state.carry = result.step.carry;
  return result;
}

namespace {
/// Which of trainable(model) are matrices of the recursion's layers.
std::vector<bool> layer_matrices(const Model& model) {
  std::vector<bool> out;
  visit(model, [&](const std::string& name, const mx::array& leaf, bool trained) {
    if (trained) out.push_back(leaf.ndim() == 2 && name.find(".layers.") != std::string::npos);
  });
  return out;
}
}  // namespace

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
  auto matrices = h.muon ? layer_matrices(state.model) : std::vector<bool>(weights.size());
  for (bool by_muon : {false, true}) {
    auto chosen = [&](const Arrays& all) {
      Arrays out;
      for (size_t i = 0; i < all.size(); ++i) {
        if (matrices[i] == by_muon) out.push_back(all[i]);
      }
      return out;
    };
    auto p = chosen(weights), m = chosen(state.m), v = chosen(state.v);
    auto average = state.ema ? chosen(*state.ema) : Arrays{};
    if (!by_muon) {
      adam_atan2(p, chosen(gradients), m, v, state.step, rate(h.lr), h.adam,
                 state.ema ? &average : nullptr, h.ema_rate);
    } else if (h.muon) {
      muon(p, chosen(gradients), m, rate(h.muon->lr), *h.muon);
      ema_update(average, p, h.ema_rate);
    }
    for (size_t i = 0, at = 0; i < weights.size(); ++i) {
      if (matrices[i] != by_muon) continue;
      weights[i] = p[at], state.m[i] = m[at], state.v[i] = v[at];
      if (state.ema) (*state.ema)[i] = average[at];
      ++at;
    }
  }
  state.model = with_trainable(std::move(state.model), weights);
}

Model averaged_model(const TrainState& state) {
  Model model = state.ema ? with_trainable(state.model, *state.ema) : state.model;
  model.io().context.recompute = false;
  return model;
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
