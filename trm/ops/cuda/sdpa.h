#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>

#include <cuda_runtime.h>

namespace trm::ops::cuda {

struct SdpaShape {
  int64_t batch, tokens, heads, dim;
  auto operator<=>(const SdpaShape&) const = default;
};

/// Scratch of softmax(q k^T / sqrt(dim)) v and of its gradient. The first call for a shape builds
/// cuDNN's plan (not while capturing).
size_t sdpa_scratch(const SdpaShape& shape, bool save);
size_t sdpa_backward_scratch(const SdpaShape& shape);

/// qkv (batch, tokens, 3, heads, dim) bfloat16 -> out (batch, tokens, heads, dim), and with `stats`
/// the log-sum-exp (batch, heads, tokens) float32 that the gradient needs.
void sdpa(const SdpaShape& shape, const void* qkv, void* out, void* stats, void* scratch,
          cudaStream_t stream);

void sdpa_backward(const SdpaShape& shape, const void* qkv, const void* out, const void* stats,
                   const void* dout, void* dqkv, void* scratch, cudaStream_t stream);

}  // namespace trm::ops::cuda
