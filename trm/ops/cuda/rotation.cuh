// The rotary embedding undone, for both gradients of attention.
#pragma once

#include "trm/ops/cuda/sm90.cuh"

namespace trm::ops::cuda {

struct Rotation {  // tables (tokens, 32), or null
  const float *cos, *sin;
};

// Turns a gradient (64 x 64, rows from `row`) by the opposite angles.
__device__ __forceinline__ void rotate_back(float (&d)[32], int row, int lane, int tokens,
                                            const Rotation& rotation) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    int r = min(row + 8 * half, tokens - 1);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      int at = r * 32 + i * 8 + lane % 4 * 2;
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

}  // namespace trm::ops::cuda
