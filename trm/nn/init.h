#pragma once

#include "trm/mlx.h"

namespace trm {

/// A stream of independent random keys from one seed.
class KeySequence {
 public:
  explicit KeySequence(mx::array key) : key_(std::move(key)) {}
  mx::array next();

 private:
  mx::array key_;
};

/// Truncated normal at +-2 deviations whose standard deviation is exactly `std`, float32: the
/// reference's initialisation (JAX's and not torch's, which shrinks the deviation).
mx::array truncated_normal(const mx::Shape& shape, float std, const mx::array& key);

}  // namespace trm
