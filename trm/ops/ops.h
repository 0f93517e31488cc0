// The few operations a TRM spends its time in. Each is declared once, with its meaning;
// reference.cpp composes it from plain MLX operations, which runs on every MLX device and defines
// value and gradient. Faster twins (cpu/, cuda/) stand behind the same functions, chosen by device
// and dtype; TRM_OPS=reference in the environment switches them off. A model never knows which one
// ran.
//
// B = batch, L = tokens (puzzle embedding + sequence), D = hidden size, I = SwiGLU inner size,
// V = vocabulary. Activations h are float32 or bfloat16; weights are float32 masters (out, in),
// cast to h's dtype at use, with gradients in the weight's own dtype. RMS(v) = v / sqrt(mean(v^2) +
// eps), without gain, computed in float32.
#pragma once

#include <optional>

#include "trm/mlx.h"

namespace trm::ops {

/// x (…, in) times weight (out, in) transposed, in x's dtype with float32 accumulation -> (…, out).
mx::array linear(const mx::array& x, const mx::array& weight);

/// RMS(x) along the last axis, in x's dtype.
mx::array rms_norm(const mx::array& x, float eps);

/// Channel mixing with its residual and norm: RMS(h + SwiGLU(h)) along D.
/// h (B, L, D); gate_up (2I, D), gate rows first; down (D, I). SwiGLU(v) = down·(silu(gate·v) *
/// up·v).
mx::array feed_forward(const mx::array& h, const mx::array& gate_up, const mx::array& down,
                       float eps);

/// Token mixing (mlp_t) with its residual and norm: the same along the token axis, so RMS runs over
/// the L tokens of each channel. h (B, L, D); gate_up (2I, L); down (L, I) -> (B, L, D).
mx::array token_mixing(const mx::array& h, const mx::array& gate_up, const mx::array& down,
                       float eps);

/// Rotary tables, float32 (L, head_dim / 2): angle of position p and pair i is p *
/// theta^(-2i/head_dim).
struct Rotary {
  mx::array cos, sin;
};
Rotary rotary_tables(int length, int head_dim, float theta);

/// Non-causal self-attention with its residual and norm: RMS(h + o·Attention(qkv·h)) along D.
/// qkv (3·heads·head_dim, D) laid out [q heads | k heads | v heads]; o (D, heads·head_dim); scale
/// 1/sqrt(head_dim). With tables, q and k are rotated in float32, half-split (pair i is i, i+hd/2).
mx::array attention(const mx::array& h, const mx::array& qkv, const mx::array& o, int heads,
                    const Rotary* rotary, float eps);

/// The network a recursion applies: for each layer token_mixing (mix_in gate_up, mix_out down) or
/// attention (mix_in qkv, mix_out o), then feed_forward.
struct Network {
  struct Layer {
    mx::array mix_in, mix_out, gate_up, down;
  };
  std::vector<Layer> layers;
  bool mixes_tokens;
  int heads;             // attention
  const Rotary* rotary;  // attention, or null
  float eps;
};

/// True where recursion() can run: a device's twin takes it, and with a gradient it is one cycle.
bool fuses_recursion(const mx::array& z_H, const mx::array& z_L, const mx::array& x,
                     const Network& network, int cycles);

/// The cycles of a TRM in one operation. `cycles` times: L_cycles times z_L =
/// net(z_L + z_H + x), then z_H = net(z_H + z_L). All (B, L, D); returns {z_H, z_L}. Its reference
/// is TRM::recursion.
Arrays recursion(const mx::array& z_H, const mx::array& z_L, const mx::array& x,
                 const Network& network, int cycles, int L_cycles);

/// -log of the stablemax probability of each label (…): s(l_y)/sum_v s(l_v), s(v) = v+1 for v >= 0,
/// 1/(1-v) below. logits (…, V) in any float dtype, labels (…) int32; result float32, 0 where the
/// label is `ignore`. Finite, with a finite gradient, for every finite float32 logit. With
/// smoothing e: (1-e) of that and e of the mean over all V.
mx::array stablemax_cross_entropy(const mx::array& logits, const mx::array& labels, int ignore,
                                  float smoothing = 0);

/// The same with softmax.
mx::array softmax_cross_entropy(const mx::array& logits, const mx::array& labels, int ignore,
                                float smoothing = 0);

/// One AdamATan2 step on one parameter: p *= 1-lr*wd; m, v = moving averages of g, g^2;
/// p -= lr/(1-b1^t) * atan2(m, sqrt(v)/sqrt(1-b2^t)). All float32; the scalars are 0-d float32
/// arrays so that a compiled or captured step can change them; 1-b1, 1-b2 come rounded once from
/// double. `average` (empty, or one array): an average of the parameter, which becomes rate*average
/// + (1-rate)*p of the new p. Returns {p, m, v}, and the average.
struct AdamScalars {
  mx::array decay;           // 1 - lr*wd
  mx::array step_size;       // lr / (1 - b1^t)
  mx::array inv_sqrt_bias2;  // 1 / sqrt(1 - b2^t)
  float one_minus_beta1, one_minus_beta2;
  float rate, one_minus_rate;
};
Arrays adam_atan2(const mx::array& p, const mx::array& g, const mx::array& m, const mx::array& v,
                  const std::optional<mx::array>& average, const AdamScalars& scalars);

/// False when TRM_OPS=reference asks for the plain compositions only. Read once.
bool fused_enabled();

}  // namespace trm::ops

// The compositions themselves, for tests and as the fallback of every twin.
namespace trm::ops::reference {
mx::array linear(const mx::array& x, const mx::array& weight);
mx::array feed_forward(const mx::array& h, const mx::array& gate_up, const mx::array& down,
                       float eps);
mx::array token_mixing(const mx::array& h, const mx::array& gate_up, const mx::array& down,
                       float eps);
mx::array attention(const mx::array& h, const mx::array& qkv, const mx::array& o, int heads,
                    const Rotary* rotary, float eps);
mx::array stablemax_cross_entropy(const mx::array& logits, const mx::array& labels, int ignore,
                                  float smoothing = 0);
mx::array softmax_cross_entropy(const mx::array& logits, const mx::array& labels, int ignore,
                                float smoothing = 0);
Arrays adam_atan2(const mx::array& p, const mx::array& g, const mx::array& m, const mx::array& v,
                  const std::optional<mx::array>& average, const AdamScalars& scalars);
}  // namespace trm::ops::reference
