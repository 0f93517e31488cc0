#include "tests/golden_run.h"

#include "trm/train/train_step.h"

namespace trm::golden {

namespace {

void add(Results& results, const StepResult& step, const std::string& prefix, const Model& model) {
  auto put = [&](const std::string& name, const mx::array& a) {
    results.insert_or_assign(prefix + name, a);
  };
  put(".logits", step.answer.logits);
  put(".preds", step.preds);
  put(".q_halt_logits", step.answer.q_halt);
  put(".q_continue_logits", step.answer.q_continue);
  put(".halted", step.carry.halted);
  put(".steps", step.carry.steps);
  put(".loss", step.loss);
  put(".metrics", step.metrics);
  auto names = model.latent_names();
  for (size_t i = 0; i < names.size(); ++i) put(".carry." + names[i], step.carry.z[i]);
}

// The reference's carry after step I, to start step I+1 from.
Carry reference_carry(const Golden& g, Carry carry, const std::string& prefix, const Model& m) {
  auto names = m.latent_names();
  for (size_t i = 0; i < names.size(); ++i) carry.z[i] = g.at(prefix + ".carry." + names[i]);
  return carry;
}

}  // namespace

Examples examples(const Golden& g, const std::string& prefix) {
  return {g.at(prefix + ".inputs"), g.at(prefix + ".labels"), g.at(prefix + ".puzzle_identifiers")};
}

Results train(const Golden& g, const Model& m, Carries carries) {
  Results results;
  auto carry = initial_carry(m, examples(g, "train.1.batch"));
  int B = g.at("train.1.batch.inputs").shape(0);
  auto names = trainable_names(m);
  for (int i = 1; i <= 5; ++i) {
    auto prefix = "train." + std::to_string(i);
    auto r = train_gradients(m, carry, examples(g, prefix + ".batch"), mx::random::key(0), B);
    add(results, r.step, prefix, m);
    for (size_t p = 0; i <= 2 && p < names.size(); ++p) {
      results.insert_or_assign(prefix + ".grad." + names[p], r.weights[p]);
    }
    if (i <= 2 && r.puzzle_rows) {
      results.insert_or_assign(prefix + ".grad.model.inner.puzzle_emb.local_weights",
                               *r.puzzle_rows);
    }
    carry = carries == Carries::own ? r.step.carry : reference_carry(g, r.step.carry, prefix, m);
  }
  return results;
}

Results evaluate(const Golden& g, const Model& m) {
  Results results;
  auto batch = examples(g, "eval.batch");
  auto carry = initial_carry(m, batch);
  int steps = static_cast<int>(g.json["eval_steps"].size());
  for (int i = 1; i <= steps; ++i) {
    auto r = evaluate_step(m, carry, batch);
    add(results, r, "eval." + std::to_string(i), m);
    if (i == steps) add(results, r, "eval.final", m);
    carry = r.carry;
  }
  return results;
}

Results training_run(const Golden& g, const Model& model) {
  const auto& j = g.json["hyper"];
  Hyperparameters h;
  h.global_batch_size = g.json["config"]["batch_size"];
  h.lr = j["lr"];
  h.lr_min_ratio = j["lr_min_ratio"];
  h.lr_warmup_steps = j["lr_warmup_steps"];
  h.total_steps = j["total_steps"];
  h.adam = {j["weight_decay"], j["beta1"], j["beta2"]};
  h.puzzle_emb_lr = j["puzzle_emb_lr"];
  h.puzzle_emb_weight_decay = j["puzzle_emb_weight_decay"];
  h.ema_rate = j["ema_rate"];

  Results results;
  auto state =
      make_train_state(model, examples(g, "batch.1"), mx::random::key(0), /*use_ema=*/true);
  for (int64_t i = 1; i <= h.total_steps; ++i) {
    auto at = std::to_string(i);
    auto r = begin_train_step(state, examples(g, "batch." + at), h);
    finish_train_step(state, r.weights, r.puzzle_rows, r.step.carry.current.puzzle_identifiers, h);
    mx::eval(state_arrays(state));
    mx::eval(r.step.loss, r.step.metrics);
    results.insert_or_assign("loss." + at, r.step.loss);
    results.insert_or_assign("metrics." + at, r.step.metrics);
    for (auto& [name, array] : named_arrays(state.model)) {
      auto key = "weights_after." + at + "." + name;
      if (g.has(key)) results.insert_or_assign(key, array);
    }
  }
  for (auto& [name, array] : named_arrays(averaged_model(state))) {
    results.insert_or_assign("ema_final." + name, array);
  }
  return results;
}

}  // namespace trm::golden
