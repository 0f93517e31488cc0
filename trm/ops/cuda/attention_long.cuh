// What attention over many tokens and its gradient do with tiles of 64 rows of a head of 64: left
// operands in registers, products, masks, results.
#pragma once

#include "trm/ops/cuda/sm90.cuh"
#include "trm/ops/cuda/wgmma.cuh"

namespace trm::ops::cuda {

constexpr int kTile = 64 * 128;  // bytes

// This warp's 16 rows of a 64 x 64 tile as left operands.
__device__ __forceinline__ void load_rows(uint32_t (&a)[4][4], const char* tile) {
  int row = threadIdx.x % 128 / 32 * 16 + threadIdx.x % 16, upper = threadIdx.x % 32 / 16;
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    load_operand(shared_address(tile) + row * 128 + (((2 * k + upper) ^ (row & 7)) << 4), a[k]);
  }
}

// s = a (64 rows) x rows of b (2 n), transposed
template <int n>
__device__ __forceinline__ void score(float (&s)[n], const uint32_t (&a)[4][4], uint32_t b) {
  static_assert(n == 48 || n == 32);
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    if constexpr (n == 48) {
      wgmma_n96_regs<0>(s, a[k], k_major(b) + 2 * k, k > 0);
    } else {
      wgmma_n64_regs<0>(s, a[k], k_major(b) + 2 * k, k > 0);
    }
  }
}

// d += a (64 x 4 n) b
template <int n>
__device__ __forceinline__ void add_product(float (&d)[32], const uint32_t (&a)[n], uint32_t b) {
#pragma unroll
  for (int k = 0; k < n / 4; ++k) {
    wgmma_n64_regs<1>(d, *reinterpret_cast<const uint32_t(*)[4]>(a + 4 * k), mn_major(b + k * 2048),
                      1);
  }
}

// Keeps the compiler from reusing left operands before the wait that completes their product.
template <int n>
__device__ __forceinline__ void settle(uint32_t (&a)[n]) {
#pragma unroll
  for (auto& value : a) asm volatile("" : "+r"(value)::"memory");
}

// No weight for scores with keys past the tokens, the first of these columns being key `first`.
template <int n>
__device__ __forceinline__ void mask(float (&s)[n], int first, int tokens) {
#pragma unroll
  for (int i = 0; i < n; ++i) {
    if (first + i / 4 * 8 + threadIdx.x % 4 * 2 + i % 2 >= tokens) s[i] = -1e30f;
  }
}

// 64 x 64 results of a warpgroup into a tile, a thread's two rows times scales of their own.
__device__ __forceinline__ void store_rows(char* tile, const float (&d)[32], float first,
                                           float second) {
  int lane = threadIdx.x % 32, row = threadIdx.x % 128 / 32 * 16 + lane / 4;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    char* at = tile + row * 128 + ((i ^ (row & 7)) << 4) + lane % 4 * 4;
    *reinterpret_cast<uint32_t*>(at) = pack(d[4 * i] * first, d[4 * i + 1] * first);
    *reinterpret_cast<uint32_t*>(at + 1024) = pack(d[4 * i + 2] * second, d[4 * i + 3] * second);
  }
}

}  // namespace trm::ops::cuda
