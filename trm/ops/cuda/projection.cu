// q, k and v in one product, q and k rotated before they leave the registers. Built like swiglu.cu:
// a block keeps 128 rows in shared memory, and the rotation of one tile overlaps the next one's
// product. With the weights' rows in weight_map's order a thread holds whole 16 bytes of a row.
#include <algorithm>

#include "trm/ops/cuda/kernels.h"
#include "trm/ops/cuda/sm90.cuh"
#include "trm/ops/cuda/wgmma.cuh"

namespace trm::ops::cuda {
namespace {

constexpr int kRows = 128, kThreads = 384;
constexpr int kBlockBytes = kRows * 128;  // 128 rows of 64 values: a block of X or of weights

constexpr int kBlocks = 8, kStages = 6;
constexpr int kShared = 1024 + (kBlocks + kStages) * kBlockBytes + 8 * (2 * kBlocks + 2 * kStages);

struct Output {
  half* data;  // (rows, columns)
  int rows, columns;
};

struct Tile {  // where an accumulator's values belong (two heads); beyond the rows is none
  int row, column;
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
__device__ __forceinline__ void store_part(const float (&acc)[64], int i, const Tile& tile,
                                           const Output& out, const Rotation& rotation,
                                           const Angles& angles) {
  int head = i / 4, half = i / 2 % 2, upper = i % 2;
  bool turns = rotation.cos && tile.column + head * 64 < rotation.columns;
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
  int row = tile.row + half * 8;
  if (row < out.rows) {
    auto* to = out.data + static_cast<int64_t>(row) * out.columns + tile.column + head * 64 +
               upper * 32 + threadIdx.x % 4 * 8;
    store_words(to, words);
  }
}

__global__ __launch_bounds__(kThreads,
                             1) void projection_kernel(const __grid_constant__ CUtensorMap x,
                                                       const __grid_constant__ CUtensorMap weight,
                                                       Output out, Rotation rotation, int tiles,
                                                       int units) {
  extern __shared__ char raw[];
  char* shared = raw + (1024 - shared_address(raw) % 1024) % 1024;
  char* rows = shared;
  char* ring = rows + kBlocks * kBlockBytes;
  auto* barriers = reinterpret_cast<uint64_t*>(ring + kStages * kBlockBytes);
  uint64_t *rows_full = barriers, *rows_empty = rows_full + kBlocks, *full = rows_empty + kBlocks,
           *empty = full + kStages;
  if (threadIdx.x == 0) {
    for (int i = 0; i < kBlocks; ++i) {
      barrier_init(rows_full + i, 1);
      barrier_init(rows_empty + i, 2);
    }
    for (int i = 0; i < kStages; ++i) {
      barrier_init(full + i, 1);
      barrier_init(empty + i, 2);
    }
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    fence_async_proxy();
  }
  __syncthreads();

  // A unit of work: 128 rows and half of the columns, `tiles` times 128.
  if (threadIdx.x < 128) {
    give_registers<40>();
    if (threadIdx.x == 0) {
      int step = 0;
      for (int unit = blockIdx.x, count = 0; unit < units; unit += gridDim.x, ++count) {
        int row = unit / 2 * kRows, first = unit % 2 * tiles;
        for (int t = 0; t < tiles; ++t) {
          for (int k = 0; k < kBlocks; ++k, ++step) {
            if (t == 0) {
              barrier_wait(rows_empty + k, (count & 1) ^ 1);
              barrier_expect(rows_full + k, kBlockBytes);
              tma_load(rows + k * kBlockBytes, &x, rows_full + k, k * 64, row);
            }
            int s = step % kStages;
            barrier_wait(empty + s, ((step / kStages) & 1) ^ 1);
            barrier_expect(full + s, kBlockBytes);
            char* to = ring + s * kBlockBytes;
            tma_load_weight(to, &weight, full + s, k * 64, (first + t) * 4);
          }
        }
      }
    }
    return;
  }

  take_registers<232>();
  int group = threadIdx.x / 128 - 1;
  bool leader = threadIdx.x % 128 == 0;
  int line = group * 64 + threadIdx.x % 128 / 32 * 16 + threadIdx.x % 32 / 4;
  uint32_t a_base = shared_address(rows) + group * 64 * 128;
  uint32_t b_base = shared_address(ring);
  float acc[2][64] = {};
  Tile previous{out.rows, 0};
  Angles angles = {};
  int step = 0;

  auto run = [&](float(&now)[64], float(&before)[64], Tile tile, int count, bool load, bool last) {
#pragma unroll
    for (int k = 0; k < kBlocks; ++k, ++step) {
      int s = step % kStages;
      if (load) barrier_wait(rows_full + k, count & 1);
      barrier_wait(full + s, (step / kStages) & 1);
      wgmma_fence();
      uint64_t a = k_major(a_base + k * kBlockBytes), b = k_major(b_base + s * kBlockBytes);
#pragma unroll
      for (int i = 0; i < 4; ++i) wgmma_n128<0, 0>(now, a + 2 * i, b + 2 * i, k + i > 0);
      wgmma_commit();
      wgmma_wait<1>();  // the step before is done with its weights
      if (k > 0 && leader) {
        barrier_arrive(empty + (step - 1) % kStages);
        if (last) barrier_arrive(rows_empty + k - 1);
      }
      store_part(before, k, previous, out, rotation, angles);
    }
    if (load && rotation.cos) {  // the last tile of the rows before has been rotated
      load_angles(rotation, tile.row, angles.cos[0], angles.sin[0]);
      load_angles(rotation, tile.row + 8, angles.cos[1], angles.sin[1]);
    }
    wgmma_wait<0>();
    settle(now);
    if (leader) {
      barrier_arrive(empty + (step - 1) % kStages);
      if (last) barrier_arrive(rows_empty + kBlocks - 1);
    }
    previous = tile;
  };

  for (int unit = blockIdx.x, count = 0; unit < units; unit += gridDim.x, ++count) {
    int row = unit / 2 * kRows + line, first = unit % 2 * tiles;
    for (int t = 0; t < tiles; t += 2) {
      run(acc[0], acc[1], {row, (first + t) * 128}, count, t == 0, false);
      run(acc[1], acc[0], {row, (first + t + 1) * 128}, count, false, t + 2 == tiles);
    }
  }
#pragma unroll
  for (int i = 0; i < 8; ++i) store_part(acc[1], i, previous, out, rotation, angles);
}

}  // namespace

void project_qkv(const ProjectionMaps& maps, half* out, const float* cos, const float* sin,
                 int rows, int tokens, int columns, int processors, cudaStream_t stream) {
  static const cudaError_t set =
      cudaFuncSetAttribute(projection_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kShared);
  check(set, "project_qkv");
  int units = (rows + kRows - 1) / kRows * 2;
  int blocks = std::min(units, processors);
  projection_kernel<<<blocks, kThreads, kShared, stream>>>(
      maps.x, maps.weight, {out, rows, columns}, {cos, sin, tokens, columns / 3 * 2}, columns / 256,
      units);
  check(cudaGetLastError(), "project_qkv");
}

}  // namespace trm::ops::cuda
