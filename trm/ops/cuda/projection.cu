// q, k and v in one product, q and k rotated before they leave the registers.
#include <algorithm>

#include "trm/ops/cuda/kernels.h"
#include "trm/ops/cuda/row_product.cuh"

namespace trm::ops::cuda {
namespace {

struct Output {
  half* data;  // (rows, columns)
  int rows, columns;
};

struct Rotation {
  const float *cos, *sin;  // (tokens, 32); cos null: none
  int tokens, columns;     // columns of q and k, in front
};

struct Angles {  // of a thread's two rows, for its 8 of a head's 32 pairs
  float cos[2][8], sin[2][8];
};

__device__ __forceinline__ void load_angles(const Rotation& rotation, int row, float (&cos)[8],
                                            float (&sin)[8]) {
  int at = row % rotation.tokens * 32 + threadIdx.x % 4 * 8;
#pragma unroll
  for (int i = 0; i < 8; i += 4) {
    auto c = *reinterpret_cast<const float4*>(rotation.cos + at + i);
    auto s = *reinterpret_cast<const float4*>(rotation.sin + at + i);
    cos[i] = c.x, cos[i + 1] = c.y, cos[i + 2] = c.z, cos[i + 3] = c.w;
    sin[i] = s.x, sin[i + 1] = s.y, sin[i + 2] = s.z, sin[i + 3] = s.w;
  }
}

// Part i of 8 of the previous tile: 8 columns of a row, in the first or second half of a head (pair
// j is columns j and j + 32).
__device__ __forceinline__ void store_part(const float (&acc)[64], int i, int row, int column,
                                           const Output& out, const Rotation& rotation,
                                           const Angles& angles) {
  int head = i / 4, half = i / 2 % 2, upper = i % 2;
  bool turns = rotation.cos && column + head * 64 < rotation.columns;
  uint32_t words[4];
#pragma unroll
  for (int block = 0; block < 4; ++block) {
    int at = 32 * head + 4 * block + 2 * half;
    float v[2];
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      float a = acc[at + e], b = acc[at + 16 + e];
      float c = angles.cos[half][2 * block + e], s = angles.sin[half][2 * block + e];
      v[e] = upper ? b : a;
      if (turns) v[e] = upper ? b * c + a * s : a * c - b * s;
    }
    words[block] = pack(v[0], v[1]);
  }
  row += half * 8;
  if (row < out.rows) {
    auto* to = out.data + static_cast<int64_t>(row) * out.columns + column + head * 64 +
               upper * 32 + threadIdx.x % 4 * 8;
    store_words(to, words);
  }
}

__global__ __launch_bounds__(RowProduct::kThreads,
                             1) void projection_kernel(const __grid_constant__ CUtensorMap x,
                                                       const __grid_constant__ CUtensorMap weight,
                                                       Output out, Rotation rotation, int tiles,
                                                       int units) {
  extern __shared__ char raw[];
  RowProduct product(raw + tile_gap(raw));
  if (threadIdx.x < 128) {
    product.produce(x, tiles, units, [&](char* to, uint64_t* full, int k, int tile) {
      tma_load_weight(to, &weight, full, k, tile * 4);
    });
    return;
  }
  Angles angles = {};
  product.consume<128>(
      tiles, units, out.rows,
      [&](const float(&acc)[64], int i, int row, int column) {
        store_part(acc, i, row, column, out, rotation, angles);
      },
      [&](int row) {  // the last tile of the rows before has been rotated
        if (!rotation.cos) return;
        load_angles(rotation, row, angles.cos[0], angles.sin[0]);
        load_angles(rotation, row + 8, angles.cos[1], angles.sin[1]);
      });
}

}  // namespace

void project_qkv(const ProjectionMaps& maps, half* out, const float* cos, const float* sin,
                 int rows, int tokens, int columns, int processors, cudaStream_t stream) {
  static const cudaError_t set = cudaFuncSetAttribute(
      projection_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, RowProduct::kShared);
  check(set, "project_qkv");
  int units = (rows + RowProduct::kRows - 1) / RowProduct::kRows * 2;
  int blocks = std::min(units, processors);
  projection_kernel<<<blocks, RowProduct::kThreads, RowProduct::kShared, stream>>>(
      maps.x, maps.weight, {out, rows, columns}, {cos, sin, tokens, columns / 3 * 2}, columns / 256,
      units);
  check(cudaGetLastError(), "project_qkv");
}

}  // namespace trm::ops::cuda
