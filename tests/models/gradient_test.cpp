// Gradients against central differences in float32 on tiny shapes: independent of the reference.
#include <gtest/gtest.h>

#include "trm/act.h"

namespace trm {
namespace {

struct Case {
  ModelKind kind;
  bool options;  // those that the reference has not, and softmax
};

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
  c.L_cycles = 2;
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
  auto loss_of = [&](const Model& m) {
    return train_gradients(m, initial_carry(m, batch), batch, mx::random::key(0), 3).step.loss /
           mx::array(3.0f);
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

// Not hrm: the target of its q_continue moves with the weights though it has no gradient.
INSTANTIATE_TEST_SUITE_P(All, FiniteDifferences,
                         testing::Values(Case{ModelKind::trm, false}, Case{ModelKind::trm, true},
                                         Case{ModelKind::trm_singlez, false},
                                         Case{ModelKind::trm_hier6, false},
                                         Case{ModelKind::transformers_baseline, false}),
                         [](auto& info) {
                           return to_string(info.param.kind) +
                                  std::string(info.param.options ? "_options" : "");
                         });

}  // namespace
}  // namespace trm
