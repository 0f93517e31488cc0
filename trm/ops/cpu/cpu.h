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
/// head_dim is even when h is bfloat16.
mx::array attention(const mx::array& h, const mx::array& qkv, const mx::array& o, int heads,
                    const Rotary* rotary, float eps);

}  // namespace trm::ops::cpu
