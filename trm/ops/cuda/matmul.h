#pragma once

#include <cstddef>
#include <cstdint>

#include <cuda_runtime.h>

namespace trm::ops::cuda {

/// A bfloat16 operand in row-major memory; transposed means it is stored the other way round.
struct Operand {
  const void* data;
  bool transposed = false;
};

/// Scratch that matmul may use.
constexpr size_t kMatmulScratch = 32u << 20;

/// out (m, n) = a (m, k) b (k, n) [+ c], through cuBLASLt with float32 accumulation. out and c are
/// bfloat16, or out alone float32 if `wide`. Throws std::runtime_error.
void matmul(int64_t m, int64_t n, int64_t k, Operand a, Operand b, const void* c, void* out,
            bool wide, void* scratch, cudaStream_t stream);

}  // namespace trm::ops::cuda
