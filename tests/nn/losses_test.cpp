#include "trm/nn/losses.h"

#include <cmath>

#include <gtest/gtest.h>

#include "tests/golden.h"
#include "trm/act.h"

namespace trm {
namespace {

using golden::difference;

class LossGolden : public testing::TestWithParam<const char*> {};

// Logits 0, -0, 1, 1e-30, +-3e38 … : value and gradient, computed by the reference in float64.
TEST_P(LossGolden, ValueAndGradient) {
  std::string file = std::string("loss/") + GetParam();
  SKIP_WITHOUT_GOLDEN(file);
  auto g = golden::load(file);
  struct Case {
    LossKind kind;
    const char* name;
  };
  for (auto [kind, name] : {Case{LossKind::stablemax_cross_entropy, "stablemax.f32_logits"},
                            Case{LossKind::softmax_cross_entropy, "softmax_official.f32_logits"}}) {
    auto labels = g.at("labels");
    auto per_row = mx::reshape(mx::astype(g.at("divisor"), mx::float32), {-1, 1});
    auto total = [&](const mx::array& logits) {
      return mx::sum(token_loss(kind, logits, labels, kIgnoreLabel) / per_row);
    };
    auto per_token = token_loss(kind, g.at("logits"), labels, kIgnoreLabel);
    std::string n = name;
    EXPECT_EQ(difference(per_token, g.at(n + ".per_position"), {2e-6, 2e-6}), "") << n;
    EXPECT_EQ(difference(mx::grad(total)(g.at("logits")), g.at(n + ".grad"), {1e-5, 1e-7}), "")
        << n;
  }
}

INSTANTIATE_TEST_SUITE_P(All, LossGolden, testing::Values("loss_s1", "loss_s2"),
                         [](auto& info) { return std::string(info.param); });

TEST(Stablemax, GradientIsFiniteAtOneAndZero) {
  // Written naively the branch not taken divides 0 by 0 at exactly 1.0 (bfloat16 logits often are).
  auto logits = mx::array({1.0f, 0.0f, -0.0f, 1.0f}, {1, 1, 4});
  auto loss = [](const mx::array& x) {
    return mx::sum(token_loss(LossKind::stablemax_cross_entropy, x, mx::zeros({1, 1}, mx::int32),
                              kIgnoreLabel));
  };
  auto grad = mx::grad(loss)(logits);
  // s = 2, 1, 1, 2: d/dv = s'(v) * (1/sum - [v is the label]/s(label)), s' = 1 here.
  EXPECT_EQ(difference(grad, mx::array({1.0f / 6 - 0.5f, 1.0f / 6, 1.0f / 6, 1.0f / 6}, {1, 1, 4}),
                       {1e-6, 0}),
            "");
}

TEST(LabelSmoothing, SharesTheTargetAmongAllTokens) {
  auto logits = mx::array({2.0f, 0.0f, -1.0f, 0.5f}, {1, 1, 4});
  auto loss = [&](float smoothing) {
    return token_loss(LossKind::softmax_cross_entropy, logits, mx::array({1}, {1, 1}), kIgnoreLabel,
                      smoothing)
        .item<float>();
  };
  double sum = std::exp(2.0) + 1 + std::exp(-1.0) + std::exp(0.5);
  EXPECT_NEAR(loss(0), std::log(sum), 1e-6);
  // The target is 0.85 of token 1 and 0.05 of each other.
  EXPECT_NEAR(loss(0.2f), std::log(sum) - 0.05 * (2.0 - 1.0 + 0.5), 1e-6);
  auto ignored = token_loss(LossKind::stablemax_cross_entropy, logits,
                            mx::array({kIgnoreLabel}, {1, 1}), kIgnoreLabel, 0.2f);
  EXPECT_EQ(ignored.item<float>(), 0.0f);
}

TEST(BinaryCrossEntropy, MatchesTheReference) {
  std::string file = "loss/bce_s1";
  SKIP_WITHOUT_GOLDEN(file);
  auto g = golden::load(file);
  auto loss = [&](const mx::array& x) {
    return binary_cross_entropy_with_logits(x, g.at("targets"));
  };
  EXPECT_EQ(difference(loss(g.at("logits")), mx::reshape(g.at("f32.sum"), {}), {1e-6, 0}), "");
  EXPECT_EQ(difference(mx::grad(loss)(g.at("logits")), g.at("f32.grad"), {1e-5, 1e-7}), "");
}

}  // namespace
}  // namespace trm
