// Forward and gradient of a fused operation against its composition from plain MLX operations.
#pragma once

#include <cmath>
#include <functional>

#include <gtest/gtest.h>

#include "trm/mlx.h"

namespace trm::ops {

using Operation = std::function<mx::array(const Arrays&)>;

inline double largest(const mx::array& a) {
  return mx::max(mx::abs(mx::astype(a, mx::float32))).item<float>();
}

/// The largest difference relative to the largest value; infinite when a is not finite.
inline double difference(const mx::array& a, const mx::array& b) {
  if (!mx::all(mx::isfinite(mx::astype(a, mx::float32))).item<bool>()) return INFINITY;
  double scale = std::max(largest(b), 1e-30);
  return largest(mx::astype(a, mx::float32) - mx::astype(b, mx::float32)) / scale;
}

/// Values and gradients of both with respect to every input, for a fixed random cotangent.
/// `exact` is what the composition gives in float32: bfloat16 has to be as near to it as the
/// composition in bfloat16 is, up to a factor; float32 within 1e-5 of it.
inline void expect_same(const Operation& fused, const Operation& reference, const Arrays& inputs,
                        const std::string& what) {
  auto run = [](const Operation& op, const Arrays& in) {
    auto value = op(in);
    auto weight = mx::random::normal(value.shape(), mx::float32, 0, 1, mx::random::key(7));
    auto loss = [&](const Arrays& x) { return Arrays{mx::sum(op(x) * weight)}; };
    std::vector<int> all(in.size());
    for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<int>(i);
    Arrays out = mx::value_and_grad(loss, all)(in).second;
    out.insert(out.begin(), value);
    mx::eval(out);
    return out;
  };
  Arrays wide;
  bool narrow = false;
  for (auto& x : inputs) {
    narrow = narrow || x.dtype() == mx::bfloat16;
    wide.push_back(mx::astype(x, mx::float32));
  }
  auto got = run(fused, inputs), plain = run(reference, inputs), exact = run(reference, wide);
  for (size_t i = 0; i < got.size(); ++i) {
    std::string name = what + (i ? ", gradient " + std::to_string(i - 1) : ", value");
    EXPECT_EQ(got[i].shape(), plain[i].shape()) << name;
    EXPECT_EQ(got[i].dtype(), plain[i].dtype()) << name;
    double error = difference(got[i], exact[i]);
    if (narrow) {
      EXPECT_LE(error, std::max(2 * difference(plain[i], exact[i]), 0.008)) << name;
    } else {
      EXPECT_LE(error, 1e-5) << name;
    }
  }
}

inline mx::array random_array(mx::Shape shape, mx::Dtype dtype, int seed, float scale = 1) {
  return mx::astype(
      mx::random::normal(std::move(shape), mx::float32, 0, scale, mx::random::key(seed)), dtype);
}

}  // namespace trm::ops
