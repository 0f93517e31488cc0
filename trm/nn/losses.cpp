#include "trm/nn/losses.h"

#include "trm/ops/ops.h"

namespace trm {

mx::array token_loss(LossKind kind, const mx::array& logits, const mx::array& labels, int ignore,
                     float smoothing) {
  return kind == LossKind::stablemax_cross_entropy
             ? ops::stablemax_cross_entropy(logits, labels, ignore, smoothing)
             : ops::softmax_cross_entropy(logits, labels, ignore, smoothing);
}

mx::array binary_cross_entropy_with_logits(const mx::array& logits, const mx::array& targets) {
  return mx::sum(mx::logaddexp(logits, mx::array(0.0f)) - logits * targets);
}

}  // namespace trm
