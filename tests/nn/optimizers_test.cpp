#include "trm/nn/optimizers.h"

#include <cmath>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/golden.h"

namespace trm {
namespace {

using golden::difference;

class AdamATan2Golden : public testing::TestWithParam<const char*> {};

TEST_P(AdamATan2Golden, FiveSteps) {
  auto file = std::string("optim/") + GetParam();
  SKIP_WITHOUT_GOLDEN(file);
  auto g = golden::load(file);
  AdamATan2Options options{g.json["weight_decay"], g.json["betas"][0], g.json["betas"][1]};
  for (int k = 0; g.has(fmt::format("init.p{}", k)); ++k) {
    auto p_name = fmt::format("p{}", k);
    Arrays p{g.at("init." + p_name)}, m{mx::zeros_like(p[0])}, v = m;
    int t = 0;  // counts the steps in which this parameter had a gradient
    for (int i = 1; i <= 5; ++i) {
      auto prefix = std::to_string(i) + "." + p_name;
      if (!g.has("grad." + prefix)) continue;
      adam_atan2(p, {g.at("grad." + prefix)}, m, v, ++t, g.json["lrs"][i - 1], options);
      EXPECT_EQ(difference(p[0], g.at("f32." + prefix), golden::kOptimizer), "") << prefix;
      EXPECT_EQ(difference(m[0], g.at("f32." + prefix + ".m"), golden::kOptimizer), "") << prefix;
      EXPECT_EQ(difference(v[0], g.at("f32." + prefix + ".v"), golden::kOptimizer), "") << prefix;
    }
    EXPECT_GT(t, 2);
  }
}

INSTANTIATE_TEST_SUITE_P(All, AdamATan2Golden,
                         testing::Values("adam_atan2_a", "adam_atan2_sched",
                                         "adam_atan2_extremes_none"),
                         [](auto& info) { return std::string(info.param); });

TEST(AdamATan2, FirstStepByHand) {
  // m = 0.1 g, v = 0.05 g^2, both corrections undo themselves: the step is lr/0.1 * atan2(0.1 g,
  // |g|).
  Arrays p{mx::array({1.0f, -2.0f})}, m{mx::zeros({2})}, v{mx::zeros({2})};
  adam_atan2(p, {mx::array({0.5f, -3.0f})}, m, v, 1, 0.01, {0.1, 0.9, 0.95});
  mx::eval(p);
  double step = 0.01 / 0.1 * std::atan2(0.1, 1.0);
  EXPECT_NEAR(p[0].data<float>()[0], 1.0 * (1 - 0.001) - step, 1e-6);
  EXPECT_NEAR(p[0].data<float>()[1], -2.0 * (1 - 0.001) + step, 1e-6);
}

TEST(Muon, OrthogonalizesTallAndWideMatrices) {
  for (auto shape : {mx::Shape{40, 12}, mx::Shape{12, 40}}) {
    auto g = mx::random::normal(shape, mx::float32, mx::random::key(3)) * mx::array(1e-3f);
    auto o = orthogonalized(g, 5);
    ASSERT_EQ(o.shape(), shape);
    auto cpu = mx::Device(mx::Device::cpu);
    auto values = mx::linalg::svd(o, false, cpu)[0];
    EXPECT_GT(mx::min(values).item<float>(), 0.6f);
    EXPECT_LT(mx::max(values).item<float>(), 1.3f);
    // The directions stay: U^T O V is a diagonal of positive values.
    auto parts = mx::linalg::svd(g, true, cpu);
    auto turned = mx::matmul(mx::matmul(mx::transpose(parts[0]), o), mx::transpose(parts[2]));
    auto diagonal = mx::diagonal(turned);
    EXPECT_GT(mx::min(diagonal).item<float>(), 0.6f);
    auto rest = mx::sum(mx::square(turned)) - mx::sum(mx::square(diagonal));
    EXPECT_NEAR(rest.item<float>(), 0, 1e-3f);
  }
  EXPECT_EQ(mx::max(mx::abs(orthogonalized(mx::zeros({3, 2}), 5))).item<float>(), 0.0f);
}

TEST(Muon, StepByHand) {
  // One number is its own singular value: its normalised 1 becomes 3.4445 - 4.7750 + 2.0315.
  constexpr double one = 0.701;
  Arrays p{mx::full({1, 1}, 2.0f)}, m{mx::full({1, 1}, -0.5f)};
  muon(p, {mx::full({1, 1}, 3.0f)}, m, 0.1, {0, 0.6, 0.5, 1});
  EXPECT_NEAR(m[0].item<float>(), 0.6 * -0.5 + 0.4 * 3, 1e-6);
  EXPECT_NEAR(p[0].item<float>(), 2 * (1 - 0.1 * 0.5) - 0.1 * one, 1e-5);
  Arrays tall{mx::zeros({9, 1})}, zero{mx::zeros({9, 1})};
  muon(tall, {mx::ones({9, 1})}, zero, 0.1, {0, 0.6, 0, 1});  // sqrt(9/1) times as long a step
  mx::eval(tall);
  EXPECT_NEAR(tall[0].data<float>()[0], -0.1 * 3 * one / 3, 1e-5);
}

TEST(SparseSignSGD, MatchesTheReference) {
  for (auto name : {"optim/signsgd_a", "optim/signsgd_b"}) {
    SKIP_WITHOUT_GOLDEN(name);
    auto g = golden::load(name);
    auto table = g.at("init");
    for (int i = 1; i <= 5; ++i) {
      auto prefix = std::to_string(i) + ".";
      table = sparse_sign_sgd(table, g.at(prefix + "ids"), g.at(prefix + "grad"),
                              g.json["lrs"][i - 1], g.json["weight_decay"]);
      EXPECT_EQ(difference(table, g.at(prefix + "weights"), golden::kOptimizer), "") << name << i;
    }
  }
}

TEST(SparseSignSGD, SumsDuplicatesAndLeavesOtherRowsAlone) {
  auto table = mx::array({1.0f, 2.0f, 3.0f}, {3, 1});
  auto next = sparse_sign_sgd(table, mx::array({2, 0, 2}), mx::array({1.0f, 0.0f, -3.0f}, {3, 1}),
                              0.1, 0.5);
  mx::eval(next);
  EXPECT_FLOAT_EQ(next.data<float>()[0], 0.95f);         // decayed though its gradient is 0
  EXPECT_FLOAT_EQ(next.data<float>()[1], 2.0f);          // not in the batch
  EXPECT_FLOAT_EQ(next.data<float>()[2], 2.85f + 0.1f);  // 1 - 3 < 0
}

TEST(Ema, MatchesTheReference) {
  for (auto name : {"optim/ema_0.9", "optim/ema_0.999"}) {
    SKIP_WITHOUT_GOLDEN(name);
    auto g = golden::load(name);
    Arrays ema{g.at("0.a"), g.at("0.b")};
    for (int i = 1; i <= 5; ++i) {
      auto n = std::to_string(i);
      ema_update(ema, {g.at(n + ".param.a"), g.at(n + ".param.b")}, g.json["mu"]);
      EXPECT_EQ(difference(ema[0], g.at(n + ".ema.a"), golden::kOptimizer), "");
      EXPECT_EQ(difference(ema[1], g.at(n + ".ema.b"), golden::kOptimizer), "");
    }
  }
}

}  // namespace
}  // namespace trm
