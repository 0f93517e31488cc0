// The CUDA twins of ops.h, for bfloat16 on a Hopper GPU, the optimizer's for float32 on any from
// compute capability 8.0 on. `handles_…` says whether the twin takes these arrays; what it does not
// take goes to the composition.
#pragma once

#include "trm/ops/ops.h"

namespace trm::ops::cuda {

bool handles_feed_forward(const mx::array& h, const mx::array& gate_up, const mx::array& down);
mx::array feed_forward(const mx::array& h, const mx::array& gate_up, const mx::array& down,
                       float eps);

bool handles_token_mixing(const mx::array& h, const mx::array& gate_up, const mx::array& down);
mx::array token_mixing(const mx::array& h, const mx::array& gate_up, const mx::array& down,
                       float eps);

bool handles_attention(const mx::array& h, const mx::array& qkv, const mx::array& o, int heads);
mx::array attention(const mx::array& h, const mx::array& qkv, const mx::array& o, int heads,
                    const Rotary* rotary, float eps);

bool handles_adam_atan2(const mx::array& p);
Arrays adam_atan2(const mx::array& p, const mx::array& g, const mx::array& m, const mx::array& v,
                  const std::optional<mx::array>& average, const AdamScalars& scalars);

}  // namespace trm::ops::cuda
