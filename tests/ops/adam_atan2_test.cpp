#include <cmath>
#include <limits>

#include "tests/ops/compare.h"
#include "trm/ops/cpu/kernels.h"
#include "trm/ops/ops.h"

namespace trm::ops {
namespace {

AdamScalars scalars() {
  return {mx::array(0.9f), mx::array(0.01f), mx::array(3.0f), 0.1f, 0.05f, 0.999f, 0.001f};
}

TEST(AdamATan2Op, EqualsTheCompositionAndKeepsItsInputs) {
  for (auto shape : {mx::Shape{1}, mx::Shape{7, 5}, mx::Shape{16, 16}, mx::Shape{1201, 37}}) {
    Arrays in;
    for (int i = 0; i < 5; ++i) in.push_back(random_array(shape, mx::float32, i));
    in[3] = mx::square(in[3]);
    mx::eval(in);
    auto copies = in;
    for (auto& a : copies) a = a + mx::array(0.0f);
    mx::eval(copies);
    for (bool averages : {false, true}) {
      auto average = averages ? std::optional(in[4]) : std::nullopt;
      auto got = adam_atan2(in[0], in[1], in[2], in[3], average, scalars());
      auto want = reference::adam_atan2(in[0], in[1], in[2], in[3], average, scalars());
      ASSERT_EQ(got.size(), averages ? 4u : 3u);
      ASSERT_EQ(got.size(), want.size());
      for (size_t i = 0; i < got.size(); ++i) {
        EXPECT_LT(difference(got[i], want[i]), 5e-7) << i;
      }
    }
    for (int i = 0; i < 5; ++i) {
      EXPECT_TRUE(mx::array_equal(in[i], copies[i]).item<bool>()) << "input " << i << " changed";
    }
  }
}

TEST(AdamATan2Op, OverwritesWhatNobodyElseHolds) {
  if (mx::default_device() != mx::Device::cpu) GTEST_SKIP() << "the default device is no CPU";
  if (!fused_enabled()) GTEST_SKIP() << "TRM_OPS=reference switches the fused path off";
  Arrays in;
  for (int i = 0; i < 5; ++i) in.push_back(mx::square(random_array({64, 64}, mx::float32, i)));
  mx::eval(in);
  const void* before[] = {in[0].data<void>(), in[2].data<void>(), in[3].data<void>(),
                          in[4].data<void>()};
  auto out = adam_atan2(in[0], in[1], in[2], in[3], in[4], scalars());
  in.clear();
  mx::eval(out);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(out[i].data<void>(), before[i]) << i;
}

// Angles of everything against everything, by every instruction set.
TEST(AdamATan2Op, TurnsByAtan2OfAnyNumbers) {
  const float inf = std::numeric_limits<float>::infinity();
  std::vector<float> numbers{0.0f,     1e-38f, 1e-20f, 0.1f,  0.41421f,
                             0.41422f, 1.0f,   3.0f,   1e20f, inf};
  // No infinite y: an infinite moment is NaN after one step.
  for (auto* table = cpu::all_kernels(false); *table; ++table) {
    for (float y : numbers) {
      if (y == inf) continue;
      for (float x : numbers) {
        for (float signed_y : {y, -y}) {
          float p = 0, g = 0, m = signed_y, v = 1;
          cpu::AdamStep step{&p, &g, &m, &v, nullptr, &p, &m, &v, nullptr, 1, -1, x, 0, 0, 0, 0};
          (*table)->adam_atan2(step, 0, 1);
          float want = std::atan2(signed_y, x);
          EXPECT_NEAR(p, want, 3e-7f) << (*table)->name << " " << signed_y << " " << x;
        }
      }
    }
    float p = 0, g = 0, m = std::nanf(""), v = 1;
    cpu::AdamStep step{&p, &g, &m, &v, nullptr, &p, &m, &v, nullptr, 1, -1, 1, 0, 0, 0, 0};
    (*table)->adam_atan2(step, 0, 1);
    EXPECT_TRUE(std::isnan(p)) << (*table)->name;
  }
}

}  // namespace
}  // namespace trm::ops
