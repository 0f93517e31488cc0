#pragma once

#include "trm/mlx.h"

namespace trm {

struct AdamATan2Options {
  double weight_decay = 0.1, beta1 = 0.9, beta2 = 0.95;
};

/// AdamATan2 (adam-atan2 0.0.1 and 0.0.3: no epsilon, the first correction outside the atan2) over
/// a list of parameters. `t` counts updates from 1. Replaces p, m and v; all float32. `average`
/// (null, or one array for each parameter) becomes rate*average + (1-rate)*p.
void adam_atan2(Arrays& p, const Arrays& g, Arrays& m, Arrays& v, int64_t t, double lr,
                const AdamATan2Options& options, Arrays* average = nullptr, double rate = 0);

struct MuonOptions {
  double lr = 0.02, momentum = 0.95, weight_decay = 0.0;
  int iterations = 5;
};

/// g (rows, columns) with its singular values moved near 1 by that many Newton-Schulz iterations
/// (coefficients 3.4445, -4.7750, 2.0315), float32; the products are bfloat16's on a GPU.
mx::array orthogonalized(const mx::array& g, int iterations);

/// One Muon step (K. Jordan, 2024) on a list of matrices with learning rate `lr`: m = b m + (1-b)
/// g; p = (1 - lr*wd) p - lr sqrt(max(1, rows/columns)) orthogonalized((1-b) g + b m). Replaces p
/// and m; all float32.
void muon(Arrays& p, const Arrays& g, Arrays& m, double lr, const MuonOptions& options);

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
