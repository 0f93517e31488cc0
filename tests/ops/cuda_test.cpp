// The CUDA twins against the composition in float32, forward and gradient, on an NVIDIA GPU.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

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
  void TearDown() override { mx::set_default_device(before_); }

  // inputs[0] is bfloat16, the others are float32 weights. cuDNN's sums are not the same twice.
  void compare(const char* what, const Op& op, const Op& reference, const Arrays& inputs,
               bool repeatable = true) {
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
    auto [values, gradients] = mx::vjp(  // evaluated before its gradient is asked for
        [&](const Arrays& in) {
          auto y = op(in);
          mx::eval(y);
          return Arrays{y};
        },
        inputs, {dy});
    EXPECT_LE(difference(gradients[0], got[1]), 1e-3f);

    // A chain whose links nobody holds runs in place; the gradients too.
    auto chain = [&](const Arrays& in, bool hold) {
      Arrays links = in;
      for (int i = 0; i < 3; ++i) {
        links[0] = op(links) + dy;
        links[0] = op(links);
        if (hold) mx::eval(links);
      }
      return links[0];
    };
    auto step_by_step = chain(inputs, true), at_once = chain(inputs, false);
    EXPECT_EQ(difference(chain(inputs, true), step_by_step), 0.0f) << "not the same twice";
    EXPECT_EQ(difference(at_once, step_by_step), 0.0f);
    auto gradient = [&](bool hold) {
      Arrays held;
      auto traced = mx::vjp(
          [&](const Arrays& in) {
            Arrays links = in;
            for (int i = 0; i < 3; ++i) {
              links[0] = op(links);
              if (hold) held.push_back(links[0]);
            }
            return Arrays{links[0]};
          },
          inputs, {dy});
      mx::eval(traced.second);
      return traced.second;
    };
    auto kept = gradient(true), dropped = gradient(false);
    std::vector<float> noise(kept.size());
    for (int run = 0; run < 4; ++run) {
      auto again = gradient(true);
      for (size_t i = 0; i < kept.size(); ++i) {
        noise[i] = std::max(noise[i], difference(again[i], kept[i]));
      }
    }
    for (size_t i = 0; i < kept.size(); ++i) {
      if (repeatable) {
        EXPECT_LE(noise[i], 1e-5f) << i << ", not the same twice";
      }
      EXPECT_LE(difference(dropped[i], kept[i]), 2 * noise[i] + 1e-5f) << i;
    }
  }

 private:
  mx::Device before_ = mx::default_device();
};

TEST_F(CudaOps, FeedForward) {
  struct {
    int batch, tokens, inner;
  } cases[] = {{1, 1, 256}, {3, 97, 1536}, {2, 128, 512}, {5, 131, 768}, {400, 97, 1536}};
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
  } cases[] = {{1, 97, 8, true},   {3, 97, 8, false}, {400, 97, 8, true}, {2, 916, 8, true},
               {1, 105, 8, false}, {5, 33, 4, true},  {2, 300, 4, true},  {2, 300, 8, true},
               {1, 128, 8, false}, {1, 193, 8, true}, {3, 129, 8, false}};
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
        inputs, dim == 64);
  }
}

// Later tokens whose scores are far above the first ones', by more than an exponential can hold.
TEST_F(CudaOps, AttentionWhoseScoresGrow) {
  for (int tokens : {300, 916}) {
    SCOPED_TRACE(tokens);
    auto h = normal({2, tokens, 512}, 1, 1, mx::float32);
    auto growth = mx::reshape(mx::exp(mx::arange(0.0, tokens, mx::float32) * (1.8f / tokens)),
                              {1, tokens, 1});
    h = mx::astype(h * growth, mx::bfloat16);
    auto qkv = normal({3 * 512, 512}, 0.06f, 2, mx::float32);
    auto o = normal({512, 512}, 0.04f, 3, mx::float32);
    auto exact = ops::reference::attention(mx::astype(h, mx::float32), qkv, o, 8, nullptr, 1e-5f);
    auto plain = ops::reference::attention(h, qkv, o, 8, nullptr, 1e-5f);
    float error = difference(ops::attention(h, qkv, o, 8, nullptr, 1e-5f), exact);
    EXPECT_LE(error, 1.5f * difference(plain, exact) + 1e-3f);
  }
}

// float32 takes the compositions on a GPU; its products may round to TF32 (MLX_ENABLE_TF32=0
// forbids).
TEST_F(CudaOps, Float32AgreesWithTheCpu) {
  auto tables = ops::rotary_tables(13, 64, 1e4f);
  std::vector<std::pair<const char*, Op>> ops = {
      {"feed_forward",
       [](const Arrays& in) { return ops::feed_forward(in[0], in[1], in[2], 1e-5f); }},
      {"token_mixing",
       [](const Arrays& in) { return ops::token_mixing(in[0], in[3], in[4], 1e-5f); }},
      {"attention",
       [&](const Arrays& in) { return ops::attention(in[0], in[5], in[6], 3, &tables, 1e-5f); }}};
  Arrays inputs = {
      normal({3, 13, 192}, 1, 1, mx::float32),  normal({2 * 176, 192}, 0.1f, 2, mx::float32),
      normal({192, 176}, 0.1f, 3, mx::float32), normal({2 * 24, 13}, 0.3f, 4, mx::float32),
      normal({13, 24}, 0.2f, 5, mx::float32),   normal({3 * 192, 192}, 0.1f, 6, mx::float32),
      normal({192, 192}, 0.1f, 7, mx::float32)};
  auto dy = normal({3, 13, 192}, 1, 8, mx::float32);
  mx::eval(inputs);
  mx::eval(dy);
  for (auto& [name, op] : ops) {
    auto on_gpu = differentiate(op, inputs, dy);
    mx::synchronize();
    mx::set_default_device(mx::Device::cpu);
    auto on_cpu = differentiate(op, inputs, dy);
    for (size_t i = 0; i < on_cpu.size(); ++i) {
      if (mx::max(mx::abs(on_cpu[i])).item<float>() == 0) continue;  // not this operation's weight
      EXPECT_LE(difference(on_gpu[i], on_cpu[i]), 2e-3f) << name << " " << i;
    }
    mx::synchronize();
    mx::set_default_device(mx::Device::gpu);
  }
}

TEST_F(CudaOps, AdamATan2) {
  ops::AdamScalars scalars{mx::array(0.9f), mx::array(0.01f), mx::array(3.0f), 0.1f,
                           0.05f,           0.999f,           0.001f};
  for (auto shape : {mx::Shape{1}, mx::Shape{7, 5}, mx::Shape{1201, 370}}) {
    Arrays in;
    for (uint64_t i = 0; i < 5; ++i) in.push_back(normal(shape, 1, i, mx::float32));
    in[3] = mx::square(in[3]);
    mx::eval(in);
    for (bool averages : {false, true}) {
      auto average = averages ? std::optional(in[4]) : std::nullopt;
      auto want = ops::reference::adam_atan2(in[0], in[1], in[2], in[3], average, scalars);
      // Over the NaN of a step before; then over its own inputs, which nobody else holds.
      auto nothing = mx::full(shape, std::numeric_limits<float>::quiet_NaN(), mx::float32);
      mx::eval(ops::adam_atan2(nothing, nothing, nothing, nothing, average, scalars));
      for (bool held : {true, false}) {
        auto one = mx::array(1.0f);
        Arrays own = in;
        if (held) {  // a gradient that starts anywhere in a message
          int n = static_cast<int>(own[1].size());
          auto message = mx::concatenate({mx::zeros({3}), mx::flatten(own[1])});
          own[1] = mx::reshape(mx::slice(message, {3}, {3 + n}), shape);
        }
        if (!held) {
          for (auto& a : own) a = a * one;
        }
        if (averages) average = own[4];
        auto computed = scalars;  // its numbers are not known before the device has them
        computed.decay = mx::array(0.45f) * mx::array(2.0f);
        auto got =
            ops::adam_atan2(own[0], own[1], own[2], own[3], average, held ? scalars : computed);
        own.clear();
        average.reset();
        ASSERT_EQ(got.size(), want.size());
        for (size_t i = 0; i < got.size(); ++i) EXPECT_LT(difference(got[i], want[i]), 1e-6f) << i;
        average = averages ? std::optional(in[4]) : std::nullopt;
      }
    }
  }
}

}  // namespace
}  // namespace trm
