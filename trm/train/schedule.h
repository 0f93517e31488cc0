#pragma once

#include <cstdint>

namespace trm {

/// The reference's learning rate: linear warm-up over `warmup` steps, then a cosine from `base` to
/// `base * min_ratio` at `total`. The first optimizer step is step 1. Past `total` the cosine rises
/// again, as in the reference; a run ends before.
struct Schedule {
  double base = 1e-4;
  int64_t warmup = 0, total = 1;
  double min_ratio = 1.0;
  double operator()(int64_t step) const;
};

}  // namespace trm
