#pragma once

#include "trm/mlx.h"

namespace trm {

struct AdamATan2Options {
  double weight_decay = 0.1, beta1 = 0.9, beta2 = 0.95;
};

/// AdamATan2 (adam-atan2 0.0.1 and 0.0.3: no epsilon, the first correction outside the atan2) over
/// a list of parameters. `t` counts updates from 1. Replaces p, m and v; all float32.
void adam_atan2(Arrays& p, const Arrays& g, Arrays& m, Arrays& v, int64_t t, double lr,
                const AdamATan2Options& options);

/// Sparse sign-SGD of an embedding table (N, D): gradients (B, D) of the rows `ids` (B) are summed
/// per id; touched rows become w*(1-lr*wd) - lr*sign(sum), others stay. Returns the new table.
mx::array sparse_sign_sgd(const mx::array& table, const mx::array& ids,
                          const mx::array& row_gradients, double lr, double weight_decay);

/// The average after one more step: rate*ema + (1-rate)*p.
void ema_update(Arrays& ema, const Arrays& p, double rate);

/// Linear warm-up, then cosine from base to base*min_ratio at `total`. `step` counts from 1.
double learning_rate(double base, int64_t step, int64_t warmup_steps, int64_t total_steps,
                     double min_ratio);

}  // namespace trm
