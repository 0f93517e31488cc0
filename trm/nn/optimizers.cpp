#include "trm/nn/optimizers.h"

#include <algorithm>
#include <cmath>

#include "trm/ops/ops.h"

namespace trm {

namespace {
mx::array scalar(double value) { return mx::array(static_cast<float>(value)); }
}  // namespace

void adam_atan2(Arrays& p, const Arrays& g, Arrays& m, Arrays& v, int64_t t, double lr,
                const AdamATan2Options& o, Arrays* average, double rate) {
  ops::AdamScalars scalars{scalar(1.0 - lr * o.weight_decay),
                           scalar(lr / (1.0 - std::pow(o.beta1, static_cast<double>(t)))),
                           scalar(1.0 / std::sqrt(1.0 - std::pow(o.beta2, static_cast<double>(t)))),
                           static_cast<float>(1.0 - o.beta1),
                           static_cast<float>(1.0 - o.beta2),
                           static_cast<float>(rate),
                           static_cast<float>(1.0 - rate)};
  for (size_t i = 0; i < p.size(); ++i) {
    auto before = average ? std::optional((*average)[i]) : std::nullopt;
    auto next = ops::adam_atan2(p[i], g[i], m[i], v[i], before, scalars);
    p[i] = next[0];
    m[i] = next[1];
    v[i] = next[2];
    if (average) (*average)[i] = next[3];
  }
}

mx::array orthogonalized(const mx::array& g, int iterations) {
  bool tall = g.shape(0) > g.shape(1);
  auto x = tall ? mx::transpose(g) : g;
  x = x * mx::rsqrt(mx::sum(mx::square(x)) + scalar(1e-14));
  if (mx::default_device() == mx::Device::gpu) x = mx::astype(x, mx::bfloat16);
  auto number = [&](double v) { return mx::array(static_cast<float>(v), x.dtype()); };
  for (int i = 0; i < iterations; ++i) {
    auto a = mx::matmul(x, mx::transpose(x));
    auto b = number(-4.7750) * a + number(2.0315) * mx::matmul(a, a);
    x = number(3.4445) * x + mx::matmul(b, x);
  }
  x = mx::astype(x, mx::float32);
  return tall ? mx::transpose(x) : x;
}

void muon(Arrays& p, const Arrays& g, Arrays& m, double lr, const MuonOptions& o) {
  auto b = scalar(o.momentum), rest = scalar(1.0 - o.momentum);
  for (size_t i = 0; i < p.size(); ++i) {
    m[i] = b * m[i] + rest * g[i];
    double ratio = static_cast<double>(p[i].shape(0)) / p[i].shape(1);
    p[i] = scalar(1.0 - lr * o.weight_decay) * p[i] -
           scalar(lr * std::sqrt(std::max(1.0, ratio))) *
               orthogonalized(rest * g[i] + b * m[i], o.iterations);
  }
}

mx::array sparse_sign_sgd(const mx::array& table, const mx::array& ids,
                          const mx::array& row_gradients, double lr, double weight_decay) {
  // Every row gets its id's whole sum, so rows of one id all write the same value.
  auto same = mx::expand_dims(ids, 1) == mx::expand_dims(ids, 0);
  auto sums = mx::matmul(mx::astype(same, mx::float32), row_gradients);
  auto rows =
      mx::take(table, ids, 0) * scalar(1.0 - lr * weight_decay) - scalar(lr) * mx::sign(sums);
  return mx::scatter(table, ids, mx::expand_dims(rows, 1), 0);
}

void ema_update(Arrays& ema, const Arrays& p, double rate) {
  for (size_t i = 0; i < ema.size(); ++i) {
    ema[i] = scalar(1.0 - rate) * p[i] + scalar(rate) * ema[i];
  }
}

double learning_rate(double base, int64_t step, int64_t warmup_steps, int64_t total_steps,
                     double min_ratio) {
  if (step < warmup_steps)
    return base * static_cast<double>(step) / std::max<int64_t>(1, warmup_steps);
  double progress = static_cast<double>(step - warmup_steps) /
                    static_cast<double>(std::max<int64_t>(1, total_steps - warmup_steps));
  double cosine = 0.5 * (1.0 + std::cos(M_PI * progress));
  return base * (min_ratio + std::max(0.0, (1.0 - min_ratio) * cosine));
}

}  // namespace trm
