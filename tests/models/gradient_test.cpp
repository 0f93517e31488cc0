// Gradients against central differences in float32 on tiny shapes: independent of the reference.
#include <gtest/gtest.h>

#include "trm/act.h"
#include "trm/nn/losses.h"

namespace trm {
namespace {

struct Case {
  ModelKind kind;
  bool options = false;     // those that the reference has not, and softmax
  bool q_continue = false;  // halting compares q_halt with q_continue
};

/// What q_continue should say after the first step, of models that train it: the better of halting
/// and going on after one more step.
std::optional<mx::array> continue_target(const Model& model, const Examples& batch) {
  if (!model.uses_q_continue()) return std::nullopt;
  auto carry = evaluate_step(model, initial_carry(model, batch), batch).carry;
  carry.halted = mx::zeros_like(carry.halted);
  auto next = evaluate_step(model, carry, batch).answer;
  return mx::sigmoid(mx::maximum(next.q_halt, next.q_continue));
}

class FiniteDifferences : public testing::TestWithParam<Case> {};

TEST_P(FiniteDifferences, OfTheLossAlongRandomDirections) {
  ArchConfig c;
  c.kind = GetParam().kind;
  if (GetParam().options) {
    c.loss = LossKind::softmax_cross_entropy;
    c.label_smoothing = 0.2f;
    c.q_loss_weight = 0.05f;
  }
  c.hidden_size = 8;
  c.num_heads = 2;
  c.expansion = 1;
  c.H_layers = c.L_layers = 1;
  c.H_cycles = 1;  // one cycle, so that the whole loss has a gradient
  c.L_cycles = c.kind == ModelKind::hrm ? 1 : 2;
  c.no_ACT_continue = !GetParam().q_continue;
  c.puzzle_emb_ndim = 8;
  c.puzzle_emb_len = 1;
  c.forward_dtype = "float32";
  c.halt_exploration_prob = 0;
  auto model = make_model(c, {4, 5, 2}, mx::random::key(5));
  auto ids = [](int n, int high, uint64_t key) {
    return mx::random::randint(mx::array(0), mx::array(high), {3, n}, mx::int32,
                               mx::random::key(key));
  };
  Examples batch{ids(4, 5, 1), ids(4, 5, 2), mx::flatten(ids(1, 2, 3))};
  // The target moves with the weights but has no gradient: it stays that of the model itself.
  auto target = continue_target(model, batch);
  ASSERT_EQ(target.has_value(), GetParam().q_continue);
  auto loss_of = [&](const Model& m) {
    auto step = train_gradients(m, initial_carry(m, batch), batch, mx::random::key(0), 3).step;
    auto loss = step.loss;
    if (target) {
      auto q_loss = binary_cross_entropy_with_logits(step.answer.q_continue, *target) -
                    mx::take(step.metrics, kQContinueLoss);
      loss = loss + mx::array(c.q_loss_weight) * q_loss;
    }
    return loss / mx::array(3.0f);
  };
  auto weights = trainable(model);
  auto gradients =
      train_gradients(model, initial_carry(model, batch), batch, mx::random::key(0), 3);
  auto names = trainable_names(model);
  for (size_t i = 0; i < weights.size(); ++i) {
    auto direction = mx::random::normal(weights[i].shape(), mx::float32, mx::random::key(100 + i));
    direction = direction / mx::linalg::norm(direction);
    auto expected = mx::sum(direction * gradients.weights[i]).item<float>();
    constexpr float h = 2e-2f;
    auto moved = [&](float by) {
      auto w = weights;
      w[i] = w[i] + mx::array(by) * direction;
      return loss_of(with_trainable(model, w)).item<float>();
    };
    // Fourth order, so that the step may be large against float32's rounding.
    float numeric = (8 * (moved(h / 2) - moved(-h / 2)) - (moved(h) - moved(-h))) / (6 * h);
    EXPECT_NEAR(numeric, expected, 2e-2 * std::abs(expected) + 2e-3) << names[i];
  }
}

INSTANTIATE_TEST_SUITE_P(All, FiniteDifferences,
                         testing::Values(Case{ModelKind::trm}, Case{ModelKind::trm, true},
                                         Case{ModelKind::trm, false, true},
                                         Case{ModelKind::trm_singlez}, Case{ModelKind::trm_hier6},
                                         Case{ModelKind::hrm, false, true},
                                         Case{ModelKind::transformers_baseline}),
                         [](auto& info) {
                           auto& c = info.param;
                           return to_string(c.kind) +
                                  std::string(c.options ? "_options"
                                              : c.q_continue && c.kind != ModelKind::hrm
                                                  ? "_q_continue"
                                                  : "");
                         });

}  // namespace
}  // namespace trm
