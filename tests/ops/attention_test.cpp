#include "tests/ops/compare.h"
#include "trm/ops/cpu/cpu.h"
#include "trm/ops/cpu/threads.h"
#include "trm/ops/ops.h"

namespace trm::ops {
namespace {

struct Sizes {
  int B, L, D, heads, head_dim;
};
// One token, odd tokens, head sizes inside a panel and over one, width other than D, more than one
// block of queries and more than one round of rows.
const std::vector<Sizes> kSizes = {{1, 2, 4, 1, 2},     {2, 7, 34, 3, 10},  {3, 97, 64, 4, 16},
                                   {1, 113, 40, 2, 42}, {2, 33, 96, 2, 64}, {19, 113, 32, 2, 8}};

Arrays inputs(const Sizes& s, mx::Dtype dtype) {
  int width = s.heads * s.head_dim;
  return {random_array({s.B, s.L, s.D}, dtype, 1),
          random_array({3 * width, s.D}, mx::float32, 2, 1.5f / std::sqrt(static_cast<float>(s.D))),
          random_array({s.D, width}, mx::float32, 3, 1 / std::sqrt(static_cast<float>(width)))};
}

class AttentionTest : public testing::Test {
 protected:
  void SetUp() override {
    if (mx::default_device() != mx::Device::cpu) GTEST_SKIP() << "the default device is no CPU";
  }
};

TEST_F(AttentionTest, EqualsTheComposition) {
  for (auto dtype : {mx::float32, mx::bfloat16}) {
    for (auto& s : kSizes) {
      for (bool rotates : {true, false}) {
        auto tables = rotary_tables(s.L, s.head_dim, 1e4f);
        const Rotary* rotary = rotates ? &tables : nullptr;
        expect_same(
            [&](const Arrays& x) {
              return cpu::attention(x[0], x[1], x[2], s.heads, rotary, 1e-5f);
            },
            [&](const Arrays& x) {
              return reference::attention(x[0], x[1], x[2], s.heads, rotary, 1e-5f);
            },
            inputs(s, dtype),
            "L " + std::to_string(s.L) + " D " + std::to_string(s.D) + " head " +
                std::to_string(s.head_dim) + (rotates ? " rotary" : "") +
                (dtype == mx::bfloat16 ? " bfloat16" : " float32"));
      }
    }
  }
}

// Every score far below zero (q is -k), where exp(-log_sum) is past the float range.
TEST_F(AttentionTest, LargeScoresStayFinite) {
  for (auto dtype : {mx::float32, mx::bfloat16}) {
    auto h = mx::astype(
        mx::full({1, 21, 16}, 2.0f) + random_array({1, 21, 16}, mx::float32, 1, 0.1f), dtype);
    auto w = mx::full({16, 16}, 1.0f);
    auto qkv = mx::concatenate({w, -w, w * mx::array(0.1f)}, 0);
    auto loss = [&](const Arrays& x) {
      return Arrays{mx::sum(mx::square(cpu::attention(x[0], x[1], x[2], 1, nullptr, 1e-5f)))};
    };
    auto [value, grads] = mx::value_and_grad(
        loss, std::vector<int>{0, 1, 2})({h, qkv, random_array({16, 16}, mx::float32, 2, 0.3f)});
    EXPECT_TRUE(mx::isfinite(value[0]).item<bool>());
    for (auto& g : grads) {
      EXPECT_TRUE(mx::all(mx::isfinite(mx::astype(g, mx::float32))).item<bool>());
    }
  }
}

TEST_F(AttentionTest, TheBitsDoNotDependOnTheNumberOfThreads) {
  int initial = threads();
  Arrays first;
  for (int n : {1, 2, 5}) {
    set_threads(n);
    auto loss = [](const Arrays& x) {
      auto y = cpu::attention(x[0], x[1], x[2], 2, nullptr, 1e-5f);
      return Arrays{mx::sum(mx::square(y) * y)};
    };
    auto out = mx::value_and_grad(
                   loss, std::vector<int>{0, 1, 2})(inputs({3, 97, 64, 2, 32}, mx::bfloat16))
                   .second;
    mx::eval(out);
    if (first.empty()) first = out;
    for (size_t i = 0; i < out.size(); ++i) {
      EXPECT_TRUE(mx::array_equal(out[i], first[i]).item<bool>())
          << n << " threads, gradient " << i;
    }
  }
  set_threads(initial);
}

}  // namespace
}  // namespace trm::ops
