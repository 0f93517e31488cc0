#include "tests/ops/compare.h"
#include "trm/models/model.h"
#include "trm/ops/cpu/threads.h"
#include "trm/ops/ops.h"

namespace trm {
namespace {

Model small_model(bool mlp_t, const std::string& dtype) {
  ArchConfig c;
  c.hidden_size = 48, c.num_heads = 3, c.puzzle_emb_ndim = 48, c.puzzle_emb_len = 2;
  c.H_cycles = 3, c.L_cycles = 2, c.forward_dtype = dtype, c.mlp_t = mlp_t;
  if (mlp_t) c.pos_encodings = PosEncoding::none;
  return make_model(c, {19, 7, 3}, mx::random::key(4));
}

Latents latents(const Model& model, int batch) {
  auto dtype = model.io().dtype;
  mx::Shape shape{batch, 21, 48};
  return {ops::random_array(shape, dtype, 1), ops::random_array(shape, dtype, 2)};
}

float average_error(const mx::array& a, const mx::array& b) {
  return mx::mean(mx::abs(mx::astype(a, mx::float32) - b)).item<float>();
}

class RecursionTest : public testing::Test {
 protected:
  void SetUp() override {
    if (mx::default_device() != mx::Device::cpu) GTEST_SKIP() << "the default device is no CPU";
    if (!ops::fused_enabled()) GTEST_SKIP() << "TRM_OPS=reference switches the fused path off";
  }
  void TearDown() override { ops::set_threads(initial_); }
  int initial_ = ops::threads();
};

// Under a gradient the model goes operation by operation; without one, all cycles are one
// primitive.
TEST_F(RecursionTest, OneOperationEqualsTheLoops) {
  for (bool mlp_t : {true, false}) {
    for (std::string dtype : {"float32", "bfloat16"}) {
      auto model = small_model(mlp_t, dtype);
      for (int batch : {1, 2, 3, 17}) {
        auto z = latents(model, batch);
        auto x = ops::random_array(z[0].shape(), z[0].dtype(), 3);
        ASSERT_TRUE(ops::fuses_recursion(
            z[0], z[1], x,
            std::get<TRM>(model.inner).L_level.network(std::get<TRM>(model.inner).io.context), 2));
        auto wide = [](const mx::array& a) { return mx::astype(a, mx::float32); };
        auto exact = with_forward_dtype(model, "float32")
                         .without_gradient({wide(z[0]), wide(z[1])}, wide(x));
        auto fused = model.without_gradient(z, x);
        Latents loops;
        mx::vjp(
            [&](const Arrays& in) {
              loops = model.without_gradient({in[0], in[1]}, in[2]);
              return Arrays{loops[0], loops[1]};
            },
            {z[0], z[1], x}, {z[0], z[1]});
        for (int i : {0, 1}) {
          if (dtype == "float32") {
            EXPECT_LE(ops::difference(fused[i], loops[i]), 1e-5) << batch << mlp_t;
            continue;
          }
          // The recursion amplifies rounding: as near to float32's result as the loops are.
          EXPECT_LE(average_error(fused[i], exact[i]), 1.3 * average_error(loops[i], exact[i]))
              << dtype << " batch " << batch << (mlp_t ? " tokens" : " attention");
        }
      }
    }
  }
}

TEST_F(RecursionTest, TheBitsDoNotDependOnTheNumberOfThreads) {
  for (bool mlp_t : {true, false}) {
    auto model = small_model(mlp_t, "bfloat16");
    auto z = latents(model, 3);
    auto x = ops::random_array(z[0].shape(), z[0].dtype(), 3);
    Latents first;
    for (int n : {1, 2, 3, 8}) {
      ops::set_threads(n);
      auto out = model.without_gradient(z, x);
      mx::eval(out);
      if (first.empty()) first = out;
      EXPECT_TRUE(mx::array_equal(out[0], first[0]).item<bool>()) << n;
      EXPECT_TRUE(mx::array_equal(out[1], first[1]).item<bool>()) << n;
    }
  }
}

// Gradients of one cycle by z_H, z_L, x and all weights; `loops`: network by network instead of as
// one operation.
Arrays cycle_gradients(const Model& model, const Latents& z, const mx::array& x, bool loops) {
  Arrays in{z[0], z[1], x};
  for (auto& w : trainable(model)) in.push_back(w);
  auto loss = [&](const Arrays& a) {
    auto m = with_trainable(model, {a.begin() + 3, a.end()});
    m.io().context.recompute = loops;
    auto out = m.with_gradient({a[0], a[1]}, a[2]);
    auto part = [&](int i) {
      auto wide = mx::astype(out[i], mx::float32);
      return mx::sum(wide *
                     mx::random::normal(wide.shape(), mx::float32, 0, 1, mx::random::key(i)));
    };
    return Arrays{part(0) + part(1)};
  };
  std::vector<int> all(in.size());
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<int>(i);
  auto out = mx::value_and_grad(loss, all)(in).second;
  mx::eval(out);
  return out;
}

TEST_F(RecursionTest, OneCyclesGradientEqualsThatOfTheLoops) {
  for (bool mlp_t : {true, false}) {
    for (std::string dtype : {"float32", "bfloat16"}) {
      auto model = small_model(mlp_t, dtype);
      auto wide_model = with_forward_dtype(model, "float32");
      for (int batch : {1, 2, 5}) {
        auto z = latents(model, batch);
        auto x = ops::random_array(z[0].shape(), z[0].dtype(), 3);
        auto wide = [](const mx::array& a) { return mx::astype(a, mx::float32); };
        auto exact = cycle_gradients(wide_model, {wide(z[0]), wide(z[1])}, wide(x), true);
        auto fused = cycle_gradients(model, z, x, false);
        auto loops = cycle_gradients(model, z, x, true);
        ASSERT_EQ(fused.size(), loops.size());
        for (size_t i = 0; i < fused.size(); ++i) {
          SCOPED_TRACE(testing::Message()
                       << dtype << " batch " << batch << " mlp_t " << mlp_t << " gradient " << i);
          EXPECT_EQ(fused[i].shape(), loops[i].shape());
          EXPECT_EQ(fused[i].dtype(), loops[i].dtype());
          if (dtype == "float32") {
            EXPECT_LE(ops::difference(fused[i], loops[i]), 2e-5);
          } else {
            EXPECT_LE(average_error(fused[i], exact[i]),
                      1.5 * average_error(loops[i], exact[i]) + 1e-7);
          }
        }
      }
    }
  }
}

TEST_F(RecursionTest, BitsOfTheGradientDoNotDependOnTheNumberOfThreads) {
  for (bool mlp_t : {true, false}) {
    auto model = small_model(mlp_t, "bfloat16");
    auto z = latents(model, 3);
    auto x = ops::random_array(z[0].shape(), z[0].dtype(), 3);
    Arrays first;
    for (int n : {1, 2, 3, 8}) {
      ops::set_threads(n);
      auto out = cycle_gradients(model, z, x, false);
      if (first.empty()) first = out;
      for (size_t i = 0; i < out.size(); ++i) {
        EXPECT_TRUE(mx::array_equal(out[i], first[i]).item<bool>()) << n << " threads, " << i;
      }
    }
  }
}

}  // namespace
}  // namespace trm
