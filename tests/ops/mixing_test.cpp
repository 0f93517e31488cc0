#include "tests/ops/compare.h"
#include "trm/ops/cpu/cpu.h"
#include "trm/ops/cpu/feed_forward.h"
#include "trm/ops/cpu/threads.h"
#include "trm/ops/cpu/token_mixing.h"
#include "trm/ops/ops.h"

namespace trm::ops {
namespace {

struct Sizes {
  int B, L, D, I;
};
// Odd tokens and inner sizes, single rows, channels that end inside a panel, more than one round.
const std::vector<Sizes> kSizes = {{1, 1, 2, 1},      {2, 9, 34, 5},   {3, 97, 64, 48},
                                   {1, 20, 128, 256}, {5, 17, 40, 33}, {2, 113, 96, 71},
                                   {7, 33, 66, 130}};

std::string describe(const Sizes& s, mx::Dtype dtype) {
  return "B " + std::to_string(s.B) + " L " + std::to_string(s.L) + " D " + std::to_string(s.D) +
         " I " + std::to_string(s.I) + (dtype == mx::bfloat16 ? " bfloat16" : " float32");
}

Arrays inputs(const Sizes& s, int n, mx::Dtype dtype) {
  float scale = 1 / std::sqrt(static_cast<float>(n));
  return {random_array({s.B, s.L, s.D}, dtype, 1),
          random_array({2 * s.I, n}, mx::float32, 2, scale),
          random_array({n, s.I}, mx::float32, 3, 1 / std::sqrt(static_cast<float>(s.I)))};
}

class MixingTest : public testing::Test {
 protected:
  void SetUp() override {
    if (mx::default_device() != mx::Device::cpu) GTEST_SKIP() << "the default device is no CPU";
  }
  void TearDown() override { set_threads(initial_); }
  int initial_ = threads();
};

TEST_F(MixingTest, FeedForwardEqualsTheComposition) {
  for (auto dtype : {mx::float32, mx::bfloat16}) {
    for (auto& s : kSizes) {
      auto in = inputs(s, s.D, dtype);
      ASSERT_TRUE(cpu::takes(in[0]));
      expect_same([](const Arrays& x) { return cpu::feed_forward(x[0], x[1], x[2], 1e-5f); },
                  [](const Arrays& x) { return reference::feed_forward(x[0], x[1], x[2], 1e-5f); },
                  in, "feed_forward " + describe(s, dtype));
    }
  }
}

TEST_F(MixingTest, TokenMixingEqualsTheComposition) {
  for (auto dtype : {mx::float32, mx::bfloat16}) {
    for (auto& s : kSizes) {
      if (s.L < 2) continue;  // one token: y is +-1 and its gradient nothing but rounding
      expect_same([](const Arrays& x) { return cpu::token_mixing(x[0], x[1], x[2], 1e-5f); },
                  [](const Arrays& x) { return reference::token_mixing(x[0], x[1], x[2], 1e-5f); },
                  inputs(s, s.L, dtype), "token_mixing " + describe(s, dtype));
    }
  }
}

TEST_F(MixingTest, OddChannelsWorkInFloat32AndAreLeftToTheCompositionInBfloat16) {
  Sizes s{2, 5, 7, 3};
  auto in = inputs(s, s.D, mx::float32);
  expect_same([](const Arrays& x) { return cpu::feed_forward(x[0], x[1], x[2], 1e-5f); },
              [](const Arrays& x) { return reference::feed_forward(x[0], x[1], x[2], 1e-5f); }, in,
              "feed_forward " + describe(s, mx::float32));
  EXPECT_FALSE(cpu::takes(mx::astype(in[0], mx::bfloat16)));
}

TEST_F(MixingTest, TransposedInputsAreReadByTheirStrides) {
  auto h = mx::transpose(random_array({2, 64, 20}, mx::float32, 1), {0, 2, 1});
  auto gate_up = mx::transpose(random_array({64, 96}, mx::float32, 2, 0.1f));
  auto down = mx::transpose(random_array({48, 64}, mx::float32, 3, 0.1f));
  expect_same([](const Arrays& x) { return cpu::feed_forward(x[0], x[1], x[2], 1e-5f); },
              [](const Arrays& x) { return reference::feed_forward(x[0], x[1], x[2], 1e-5f); },
              {h, gate_up, down}, "transposed");
}

TEST_F(MixingTest, TheBitsDoNotDependOnTheNumberOfThreads) {
  for (auto dtype : {mx::float32, mx::bfloat16}) {
    Sizes s{5, 97, 64, 48};
    Arrays first;
    for (int n : {1, 2, 3, 7, 7}) {
      set_threads(n);
      Arrays out;
      for (bool tokens : {false, true}) {
        auto op = [&](const Arrays& x) {
          auto y = tokens ? cpu::token_mixing(x[0], x[1], x[2], 1e-5f)
                          : cpu::feed_forward(x[0], x[1], x[2], 1e-5f);
          return Arrays{mx::sum(mx::square(y) * y)};
        };
        auto in = inputs(s, tokens ? s.L : s.D, dtype);
        for (auto& g : mx::value_and_grad(op, std::vector<int>{0, 1, 2})(in).second)
          out.push_back(g);
      }
      mx::eval(out);
      if (first.empty()) first = out;
      for (size_t i = 0; i < out.size(); ++i) {
        EXPECT_TRUE(mx::array_equal(out[i], first[i]).item<bool>())
            << n << " threads, output " << i;
      }
    }
  }
}

}  // namespace
}  // namespace trm::ops
