#pragma once

#include "trm/mlx.h"
#include "trm/models/arch_config.h"

namespace trm {

/// Loss of each token: logits (B, S, V), labels (B, S) int32 -> (B, S) float32, 0 where ignored.
/// With smoothing the target is (1-smoothing) of the label and smoothing/V of every token.
mx::array token_loss(LossKind kind, const mx::array& logits, const mx::array& labels, int ignore,
                     float smoothing = 0);

/// Sum over rows of the binary cross-entropy of sigmoid(logits) with targets in [0, 1], float32.
mx::array binary_cross_entropy_with_logits(const mx::array& logits, const mx::array& targets);

}  // namespace trm
