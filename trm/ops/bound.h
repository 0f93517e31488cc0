// What the machine can do at best, measured: the bound that benchmarks are held against.
#pragma once

#include "trm/mlx.h"

namespace trm::ops {

/// Floating-point operations a second of dense matrix products on the default device with all its
/// threads, float32 or bfloat16: the CPU kernels on operands that stay in the caches, MLX's matmul
/// on other devices. Takes about 0.3 s.
double matmul_rate(mx::Dtype dtype);

}  // namespace trm::ops
