// The CUDA twins against the composition in float32, forward and gradient, on an NVIDIA GPU.
#include <cmath>
#include <functional>
#include <limits>

#include <gtest/gtest.h>

#include "trm/ops/ops.h"

namespace trm {
namespace {

using Op = std::function<mx::array(const Arrays&)>;

float difference(const mx::array& a, const mx::array& b) {
  auto x = mx::astype(a, mx::float32), y = mx::astype(b, mx::float32);
  auto error = mx::sqrt(mx::sum(mx::square(x - y)) / mx::sum(mx::square(y)));
  return error.item<float>();
}

mx::array normal(const mx::Shape& shape, float scale, uint64_t seed, mx::Dtype dtype) {
  return mx::astype(
      mx::random::normal(shape, mx::float32, mx::random::key(seed)) * mx::array(scale), dtype);
}

// The result and the gradients of `inputs` for the cotangent dy.
Arrays differentiate(const Op& op, const Arrays& inputs, const mx::array& dy) {
  auto [values, gradients] =
      mx::vjp([&](const Arrays& in) { return Arrays{op(in)}; }, inputs, {dy});
  Arrays all = {values[0]};
  all.insert(all.end(), gradients.begin(), gradients.end());
  mx::eval(all);
  return all;
}

class CudaOps : public testing::Test {
 protected:
  void SetUp() override {
    if (!mx::is_available(mx::Device(mx::Device::gpu))) GTEST_SKIP() << "no GPU";
    mx::set_default_device(mx::Device::gpu);
  }
  void TearDown() override {
    if (!IsSkipped()) mx::set_default_device(mx::Device::cpu);
  }

  // inputs[0] is bfloat16, the others are float32 weights.
  void compare(const char* what, const Op& op, const Op& reference, const Arrays& inputs) {
    SCOPED_TRACE(what);
    auto dy = normal(inputs[0].shape(), 1, 99, mx::bfloat16);
    // Memory that the op will get again holds NaN, so that what it leaves unwritten shows.
    Arrays poisoned = inputs;
    poisoned[0] =
        mx::full(inputs[0].shape(), std::numeric_limits<float>::quiet_NaN(), mx::bfloat16);
    differentiate(op, poisoned, dy);
    mx::synchronize();

    auto got = differentiate(op, inputs, dy);
    auto plain = differentiate(reference, inputs, dy);
    Arrays wide = inputs;
    wide[0] = mx::astype(inputs[0], mx::float32);
    auto exact = differentiate(reference, wide, mx::astype(dy, mx::float32));
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_EQ(got[i].shape(), exact[i].shape());
      EXPECT_EQ(got[i].dtype(), i < 2 ? mx::bfloat16 : mx::float32);
      float error = difference(got[i], exact[i]), allowed = difference(plain[i], exact[i]);
      EXPECT_LE(error, 1.5f * allowed + 1e-3f) << "output " << i << " (0 result, then gradients)";
      EXPECT_LE(error, 2e-2f) << "output " << i;
      RecordProperty(std::string(what) + " " + std::to_string(i), std::to_string(error));
    }
    auto forward = op(inputs);  // without a gradient nothing is kept: another kernel
    EXPECT_EQ(difference(forward, got[0]), 0.0f);
    auto again = op(inputs);  // evaluated before its gradient is asked for
    auto [values, gradients] = mx::vjp(
        [&](const Arrays& in) {
          auto y = op(in);
          mx::eval(y);
          return Arrays{y};
        },
        inputs, {dy});
    EXPECT_LE(difference(gradients[0], got[1]), 1e-3f);
  }
};

TEST_F(CudaOps, FeedForward) {
  struct {
    int batch, tokens, inner;
  } cases[] = {{1, 1, 256}, {3, 97, 1536}, {2, 128, 512}, {5, 131, 768}};
  for (auto c : cases) {
    auto name =
        std::to_string(c.batch) + "x" + std::to_string(c.tokens) + "x" + std::to_string(c.inner);
    Arrays inputs = {normal({c.batch, c.tokens, 512}, 1, 1, mx::bfloat16),
                     normal({2 * c.inner, 512}, 0.06f, 2, mx::float32),
                     normal({512, c.inner}, 0.04f, 3, mx::float32)};
    compare(
        name.c_str(),
        [](const Arrays& in) { return ops::feed_forward(in[0], in[1], in[2], 1e-5f); },
        [](const Arrays& in) { return ops::reference::feed_forward(in[0], in[1], in[2], 1e-5f); },
        inputs);
  }
}

TEST_F(CudaOps, TokenMixing) {
  struct {
    int batch, tokens, width, inner;
  } cases[] = {{1, 97, 256, 64},  {3, 97, 512, 512}, {150, 97, 512, 512}, {2, 104, 512, 256},
               {3, 82, 512, 256}, {7, 33, 512, 512}, {2, 8, 1024, 128}};
  for (auto c : cases) {
    auto name = std::to_string(c.batch) + "x" + std::to_string(c.tokens) + "x" +
                std::to_string(c.width) + "x" + std::to_string(c.inner);
    Arrays inputs = {normal({c.batch, c.tokens, c.width}, 1, 1, mx::bfloat16),
                     normal({2 * c.inner, c.tokens}, 0.1f, 2, mx::float32),
                     normal({c.tokens, c.inner}, 0.05f, 3, mx::float32)};
    compare(
        name.c_str(),
        [](const Arrays& in) { return ops::token_mixing(in[0], in[1], in[2], 1e-5f); },
        [](const Arrays& in) { return ops::reference::token_mixing(in[0], in[1], in[2], 1e-5f); },
        inputs);
  }
}

TEST_F(CudaOps, Attention) {
  struct {
    int batch, tokens, heads;
    bool rotary;
  } cases[] = {
      {1, 97, 8, true}, {3, 97, 8, false}, {2, 916, 8, true}, {1, 105, 8, false}, {5, 33, 4, true}};
  for (auto c : cases) {
    auto name = std::to_string(c.batch) + "x" + std::to_string(c.tokens) + "x" +
                std::to_string(c.heads) + (c.rotary ? " rotary" : "");
    int dim = 512 / c.heads;
    auto tables = ops::rotary_tables(c.tokens, dim, 1e4f);
    auto* rotary = c.rotary ? &tables : nullptr;
    Arrays inputs = {normal({c.batch, c.tokens, 512}, 1, 1, mx::bfloat16),
                     normal({3 * 512, 512}, 0.06f, 2, mx::float32),
                     normal({512, 512}, 0.04f, 3, mx::float32)};
    compare(
        name.c_str(),
        [&](const Arrays& in) {
          return ops::attention(in[0], in[1], in[2], c.heads, rotary, 1e-5f);
        },
        [&](const Arrays& in) {
          return ops::reference::attention(in[0], in[1], in[2], c.heads, rotary, 1e-5f);
        },
        inputs);
  }
}

}  // namespace
}  // namespace trm
