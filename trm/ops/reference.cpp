#include <cmath>

#include "trm/ops/ops.h"

namespace trm::ops {

mx::array rms_norm(const mx::array& x, float eps) {
  return mx::fast::rms_norm(x, std::nullopt, eps);
}

Rotary rotary_tables(int length, int head_dim, float theta) {
  auto exponent = mx::arange(0, head_dim, 2, mx::float32) / static_cast<float>(head_dim);
  auto frequency = mx::reciprocal(mx::power(mx::array(theta), exponent));
  auto angle = mx::expand_dims(mx::arange(length, mx::float32), 1) * frequency;
  return {mx::cos(angle), mx::sin(angle)};
}

namespace reference {
namespace {

bool on_cpu() { return mx::default_device() == mx::Device::cpu; }

// a·b with float32 accumulation. MLX's own bfloat16 matmul on the CPU runs at 5 GFLOP/s, so there
// the product is float32's (OpenBLAS), rounded once: the same values up to the order of summation.
mx::array product(const mx::array& a, const mx::array& b) {
  if (a.dtype() == mx::float32 || !on_cpu()) return mx::matmul(a, b);
  return mx::astype(mx::matmul(mx::astype(a, mx::float32), mx::astype(b, mx::float32)), a.dtype());
}

mx::array silu_gate(const mx::array& gate_up, int axis) {
  auto parts = mx::split(gate_up, 2, axis);
  return mx::sigmoid(parts[0]) * parts[0] * parts[1];
}

mx::array rotate(const mx::array& x, const Rotary& rotary) {  // x (B, heads, L, head_dim)
  auto halves = mx::split(mx::astype(x, mx::float32), 2, -1);
  auto a = halves[0], b = halves[1];
  auto out =
      mx::concatenate({a * rotary.cos - b * rotary.sin, b * rotary.cos + a * rotary.sin}, -1);
  return mx::astype(out, x.dtype());
}

}  // namespace

mx::array linear(const mx::array& x, const mx::array& weight) {
  return product(x, mx::transpose(mx::astype(weight, x.dtype())));
}

mx::array feed_forward(const mx::array& h, const mx::array& gate_up, const mx::array& down,
                       float eps) {
  return rms_norm(h + linear(silu_gate(linear(h, gate_up), -1), down), eps);
}

mx::array token_mixing(const mx::array& h, const mx::array& gate_up, const mx::array& down,
                       float eps) {
  // W·h[b] needs no transpose of h; only the norm along the tokens does.
  auto inner = silu_gate(product(mx::astype(gate_up, h.dtype()), h), 1);
  auto sum = h + product(mx::astype(down, h.dtype()), inner);
  auto f = mx::astype(sum, mx::float32);
  return mx::astype(f * mx::rsqrt(mx::mean(mx::square(f), 1, true) + mx::array(eps)), h.dtype());
}

mx::array attention(const mx::array& h, const mx::array& qkv, const mx::array& o, int heads,
                    const Rotary* rotary, float eps) {
  int B = h.shape(0), L = h.shape(1), head_dim = qkv.shape(0) / (3 * heads);
  auto projected = mx::reshape(linear(h, qkv), {B, L, 3, heads, head_dim});
  auto parts = mx::split(mx::transpose(projected, {2, 0, 3, 1, 4}), 3, 0);  // (1, B, heads, L, hd)
  auto q = mx::squeeze(parts[0], 0), k = mx::squeeze(parts[1], 0), v = mx::squeeze(parts[2], 0);
  if (rotary) {
    q = rotate(q, *rotary);
    k = rotate(k, *rotary);
  }
  float scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
  auto dtype = h.dtype();
  bool widen = on_cpu() && dtype != mx::float32;  // as in matmul
  if (widen) {
    q = mx::astype(q, mx::float32), k = mx::astype(k, mx::float32), v = mx::astype(v, mx::float32);
  }
  auto mixed = mx::fast::scaled_dot_product_attention(q, k, v, scale);
  if (widen) mixed = mx::astype(mixed, dtype);
  mixed = mx::reshape(mx::transpose(mixed, {0, 2, 1, 3}), {B, L, heads * head_dim});
  return rms_norm(h + linear(mixed, o), eps);
}

namespace {
mx::array cross_entropy(const mx::array& log_scores, const mx::array& labels, int ignore,
                        float smoothing) {
  auto valid = labels != mx::array(ignore);
  auto index = mx::where(valid, labels, mx::array(0));
  // Shifted before anything is picked: at logits of 1e38 the log of the sum would round away.
  auto shifted = log_scores - mx::stop_gradient(mx::max(log_scores, -1, true));
  auto picked = mx::squeeze(mx::take_along_axis(shifted, mx::expand_dims(index, -1), -1), -1);
  if (smoothing > 0) {
    picked = mx::array(1 - smoothing) * picked + mx::array(smoothing) * mx::mean(shifted, -1);
  }
  auto log_sum = mx::log(mx::sum(mx::exp(shifted), -1));
  return mx::where(valid, log_sum - picked, mx::array(0.0f));
}
}  // namespace

mx::array stablemax_cross_entropy(const mx::array& logits, const mx::array& labels, int ignore,
                                  float smoothing) {
  // log s(v) = sign(v) log(1+|v|), so stablemax is softmax of it: no overflow, no 0/0, and the
  // gradient of log s is 1/(1+|v|) everywhere. The wheres keep it 1 at v = 0.
  auto v = mx::astype(logits, mx::float32);
  auto positive = v >= mx::array(0.0f);
  auto log_s = mx::log1p(mx::where(positive, v, -v));
  return cross_entropy(mx::where(positive, log_s, -log_s), labels, ignore, smoothing);
}

mx::array softmax_cross_entropy(const mx::array& logits, const mx::array& labels, int ignore,
                                float smoothing) {
  return cross_entropy(mx::astype(logits, mx::float32), labels, ignore, smoothing);
}

Arrays adam_atan2(const mx::array& p, const mx::array& g, const mx::array& m, const mx::array& v,
                  const std::optional<mx::array>& average, const AdamScalars& s) {
  auto m_next = m + mx::array(s.one_minus_beta1) * (g - m);
  auto v_next = v + mx::array(s.one_minus_beta2) * (mx::square(g) - v);
  auto update = mx::arctan2(m_next, mx::sqrt(v_next) * s.inv_sqrt_bias2);
  auto p_next = p * s.decay - s.step_size * update;
  Arrays out{p_next, m_next, v_next};
  if (average) out.push_back(mx::array(s.one_minus_rate) * p_next + mx::array(s.rate) * *average);
  return out;
}

}  // namespace reference
}  // namespace trm::ops
