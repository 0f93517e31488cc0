// What attention over many tokens and its gradient do with tiles of 64 rows of a head of 64: left
// operands in registers, products, rotation, results.
#pragma once

#include "trm/ops/cuda/sm90.cuh"
#include "trm/ops/cuda/wgmma.cuh"

namespace trm::ops::cuda {

constexpr int kTile = 64 * 128;  // bytes

struct Rotation {  // tables (tokens, 32), or null
  const float *cos, *sin;
};

// Where the next piece of a ring is.
template <int kStages>
struct Place {
  int stage = 0;
  uint32_t parity = 0;
  __device__ __forceinline__ void next() {
    if (++stage == kStages) stage = 0, parity ^= 1;
  }
};

__device__ __forceinline__ char* align_shared(char* raw) {
  return raw + (1024 - shared_address(raw) % 1024) % 1024;
}

// This warp's 16 rows of a 64 x 64 tile as left operands.
__device__ __forceinline__ void load_rows(uint32_t (&a)[4][4], const char* tile) {
  int row = threadIdx.x % 128 / 32 * 16 + threadIdx.x % 16, upper = threadIdx.x % 32 / 16;
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(a[k][0]), "=r"(a[k][1]), "=r"(a[k][2]), "=r"(a[k][3])
                 : "r"(shared_address(tile) + row * 128 + (((2 * k + upper) ^ (row & 7)) << 4))
                 : "memory");
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

// Turns a gradient (64 x 64, rows from `row`) by the opposite angles.
__device__ __forceinline__ void rotate_back(float (&d)[32], int row, int tokens,
                                            const Rotation& rotation) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    int r = min(row + 8 * half, tokens - 1);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      int at = r * 32 + i * 8 + threadIdx.x % 4 * 2;
      float2 c = *reinterpret_cast<const float2*>(rotation.cos + at);
      float2 s = *reinterpret_cast<const float2*>(rotation.sin + at);
      float &a0 = d[4 * i + 2 * half], &a1 = d[4 * i + 2 * half + 1];
      float &b0 = d[4 * i + 16 + 2 * half], &b1 = d[4 * i + 17 + 2 * half];
      float x0 = a0, x1 = a1;
      a0 = x0 * c.x + b0 * s.x, b0 = b0 * c.x - x0 * s.x;
      a1 = x1 * c.y + b1 * s.y, b1 = b1 * c.y - x1 * s.y;
    }
  }
}

// 64 x 64 results of a warpgroup into a tile.
__device__ __forceinline__ void store_rows(char* tile, const float (&d)[32], float scale) {
  int lane = threadIdx.x % 32, row = threadIdx.x % 128 / 32 * 16 + lane / 4;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    char* at = tile + row * 128 + ((i ^ (row & 7)) << 4) + lane % 4 * 4;
    *reinterpret_cast<uint32_t*>(at) = pack(d[4 * i] * scale, d[4 * i + 1] * scale);
    *reinterpret_cast<uint32_t*>(at + 1024) = pack(d[4 * i + 2] * scale, d[4 * i + 3] * scale);
  }
}

}  // namespace trm::ops::cuda
