// The CPU twins of ops.h: MLX primitives with their own gradients. float32 and bfloat16.
#pragma once

#include "trm/mlx.h"
#include "trm/ops/ops.h"

namespace trm::ops::cpu {

/// True when the twins run for activations like h: default device CPU, float32 or bfloat16, not
/// empty, an even last axis for bfloat16.
bool takes(const mx::array& h);

mx::array feed_forward(const mx::array& h, const mx::array& gate_up, const mx::array& down,
                       float eps);
mx::array token_mixing(const mx::array& h, const mx::array& gate_up, const mx::array& down,
                       float eps);
/// True when attention() runs for heads of this size.
constexpr bool takes_heads(int head_dim) { return head_dim % 2 == 0; }

mx::array attention(const mx::array& h, const mx::array& qkv, const mx::array& o, int heads,
                    const Rotary* rotary, float eps);

/// True when recursion() runs: as above, all of one shape and dtype; one cycle where anything is
/// being differentiated.
bool takes(const mx::array& z_H, const mx::array& z_L, const mx::array& x, const Network& network,
           int cycles);

Arrays recursion(const mx::array& z_H, const mx::array& z_L, const mx::array& x,
                 const Network& network, int cycles, int L_cycles);

Arrays adam_atan2(const mx::array& p, const mx::array& g, const mx::array& m, const mx::array& v,
                  const std::optional<mx::array>& average, const AdamScalars& scalars);

}  // namespace trm::ops::cpu
