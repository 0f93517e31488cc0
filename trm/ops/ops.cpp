// Which implementation runs: a twin for the device and dtype if there is one, else the composition.
#include "trm/ops/ops.h"

#include <cstdlib>
#include <cstring>

#include "trm/ops/cpu/cpu.h"

#ifdef TRM_CUDA
#include "trm/ops/cuda/cuda_ops.h"
#define TRM_TRY_CUDA(op, arguments, handled) \
  if (fused_enabled() && cuda::handles_##op handled) return cuda::op arguments
#else
#define TRM_TRY_CUDA(op, arguments, handled)
#endif

namespace trm::ops {

bool fused_enabled() {
  static const bool enabled = [] {
    const char* value = std::getenv("TRM_OPS");
    return !(value && std::strcmp(value, "reference") == 0);
  }();
  return enabled;
}

mx::array linear(const mx::array& x, const mx::array& weight) {
  return reference::linear(x, weight);
}

mx::array feed_forward(const mx::array& h, const mx::array& gate_up, const mx::array& down,
                       float eps) {
  if (fused_enabled() && cpu::takes(h)) return cpu::feed_forward(h, gate_up, down, eps);
  TRM_TRY_CUDA(feed_forward, (h, gate_up, down, eps), (h, gate_up, down));
  return reference::feed_forward(h, gate_up, down, eps);
}

mx::array token_mixing(const mx::array& h, const mx::array& gate_up, const mx::array& down,
                       float eps) {
  if (fused_enabled() && cpu::takes(h)) return cpu::token_mixing(h, gate_up, down, eps);
  TRM_TRY_CUDA(token_mixing, (h, gate_up, down, eps), (h, gate_up, down));
  return reference::token_mixing(h, gate_up, down, eps);
}

mx::array attention(const mx::array& h, const mx::array& qkv, const mx::array& o, int heads,
                    const Rotary* rotary, float eps) {
  if (fused_enabled() && cpu::takes(h) && cpu::takes_heads(o.shape(1) / heads)) {
    return cpu::attention(h, qkv, o, heads, rotary, eps);
  }
  TRM_TRY_CUDA(attention, (h, qkv, o, heads, rotary, eps), (h, qkv, o, heads));
  return reference::attention(h, qkv, o, heads, rotary, eps);
}

bool fuses_recursion(const mx::array& z_H, const mx::array& z_L, const mx::array& x,
                     const Network& network, int cycles) {
  return fused_enabled() && cpu::takes(z_H, z_L, x, network, cycles);
}

Arrays recursion(const mx::array& z_H, const mx::array& z_L, const mx::array& x,
                 const Network& network, int cycles, int L_cycles) {
  return cpu::recursion(z_H, z_L, x, network, cycles, L_cycles);
}

mx::array stablemax_cross_entropy(const mx::array& logits, const mx::array& labels, int ignore,
                                  float smoothing) {
  return reference::stablemax_cross_entropy(logits, labels, ignore, smoothing);
}

mx::array softmax_cross_entropy(const mx::array& logits, const mx::array& labels, int ignore,
                                float smoothing) {
  return reference::softmax_cross_entropy(logits, labels, ignore, smoothing);
}

Arrays adam_atan2(const mx::array& p, const mx::array& g, const mx::array& m, const mx::array& v,
                  const std::optional<mx::array>& average, const AdamScalars& scalars) {
  if (fused_enabled() && cpu::takes(p)) return cpu::adam_atan2(p, g, m, v, average, scalars);
  TRM_TRY_CUDA(adam_atan2, (p, g, m, v, average, scalars), (p));
  return reference::adam_atan2(p, g, m, v, average, scalars);
}

}  // namespace trm::ops
