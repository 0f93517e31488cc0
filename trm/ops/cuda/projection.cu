// q, k and v in one product, q and k rotated before they leave the registers. Built like swiglu.cu:
// a block keeps 128 rows in shared memory, and the rotation of one tile overlaps the next one's
// product.
#include <algorithm>

#include "trm/ops/cuda/kernels.h"
#include "trm/ops/cuda/sm90.cuh"
#include "trm/ops/cuda/wgmma.cuh"

namespace trm::ops::cuda {
namespace {

constexpr int kRows = 128, kThreads = 384;
constexpr int kBlockBytes = kRows * 128;  // 128 rows of 64 values: a block of X or of weights
constexpr int kTileBytes = 64 * 128;      // 64 x 64 outputs of a warpgroup

constexpr int kBlocks = 8, kStages = 4;
constexpr int kShared =
    1024 + (kBlocks + kStages) * kBlockBytes + 4 * kTileBytes + 8 * (2 * kBlocks + 2 * kStages);

struct Tile {  // where an accumulator's values belong (two heads); row < 0 is none
  int row = -1, column = 0;
};

struct Rotation {
  const float *cos, *sin;  // (tokens, 32); cos null: none
  int tokens, columns;     // columns of q and k, in front
};

struct Angles {  // of a thread's two rows, for its columns of a head
  float2 cos[2][4], sin[2][4];
};

// Part i of 8 of the previous tile: 8 pairs of a head's 32 (pair j is columns j and j + 32) into
// shared memory; the last part sends the tile off.
__device__ __forceinline__ void rotate_block(const float (&acc)[64], int i, const Tile& tile,
                                             char* out, const CUtensorMap* product,
                                             const Rotation& rotation, const Angles& angles,
                                             int group) {
  int thread = threadIdx.x % 128, warp = thread / 32, lane = thread % 32;
  if (i == 0) {
    if (thread == 0) tma_store_wait_read();
    group_sync(1 + group);
  }
  int row = warp * 16 + lane / 4, head = i / 4, block = i % 4;
  bool turns = rotation.cos && tile.column + head * 64 < rotation.columns;
  char* to = out + head * kTileBytes + row * 128 + lane % 4 * 4;
#pragma unroll
  for (int half = 0; half < 2; ++half) {  // rows r and r + 8: the same swizzle
    int at = 32 * head + 4 * block + 2 * half;
    float a0 = acc[at], a1 = acc[at + 1], b0 = acc[at + 16], b1 = acc[at + 17];
    if (turns) {
      float2 c = angles.cos[half][block], s = angles.sin[half][block];
      float x0 = a0, x1 = a1;
      a0 = x0 * c.x - b0 * s.x, b0 = b0 * c.x + x0 * s.x;
      a1 = x1 * c.y - b1 * s.y, b1 = b1 * c.y + x1 * s.y;
    }
    *reinterpret_cast<uint32_t*>(to + half * 1024 + ((block ^ (row & 7)) << 4)) = pack(a0, a1);
    *reinterpret_cast<uint32_t*>(to + half * 1024 + (((block + 4) ^ (row & 7)) << 4)) =
        pack(b0, b1);
  }
  if (i == 7) {
    fence_async_proxy();
    group_sync(1 + group);
    if (thread == 0 && tile.row >= 0) {
      tma_store(product, out, tile.column, tile.row);
      tma_store(product, out + kTileBytes, tile.column + 64, tile.row);
      tma_store_commit();
    }
  }
}

__global__ __launch_bounds__(kThreads,
                             1) void projection_kernel(const __grid_constant__ CUtensorMap x,
                                                       const __grid_constant__ CUtensorMap weight,
                                                       const __grid_constant__ CUtensorMap product,
                                                       Rotation rotation, int tiles, int units) {
  constexpr int stages = kStages;
  extern __shared__ char raw[];
  char* shared = raw + (1024 - shared_address(raw) % 1024) % 1024;
  char* rows = shared;
  char* ring = rows + kBlocks * kBlockBytes;
  char* outputs = ring + stages * kBlockBytes;
  auto* barriers = reinterpret_cast<uint64_t*>(outputs + 4 * kTileBytes);
  uint64_t *rows_full = barriers, *rows_empty = rows_full + kBlocks, *full = rows_empty + kBlocks,
           *empty = full + stages;
  if (threadIdx.x == 0) {
    for (int i = 0; i < kBlocks; ++i) {
      barrier_init(rows_full + i, 1);
      barrier_init(rows_empty + i, 2);
    }
    for (int i = 0; i < stages; ++i) {
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
            int s = step % stages;
            barrier_wait(empty + s, ((step / stages) & 1) ^ 1);
            barrier_expect(full + s, kBlockBytes);
            char* to = ring + s * kBlockBytes;
            tma_load(to, &weight, full + s, k * 64, (first + t) * 128);
          }
        }
      }
    }
    return;
  }

  take_registers<232>();
  int group = threadIdx.x / 128 - 1;
  bool leader = threadIdx.x % 128 == 0;
  char* out = outputs + group * 2 * kTileBytes;
  uint32_t a_base = shared_address(rows) + group * 64 * 128;
  uint32_t b_base = shared_address(ring);
  float acc[2][64] = {};
  Tile previous;
  Angles angles = {};
  int step = 0;

  auto run = [&](float(&now)[64], float(&before)[64], Tile tile, int count, bool load, bool last) {
#pragma unroll
    for (int k = 0; k < kBlocks; ++k, ++step) {
      int s = step % stages;
      if (load) barrier_wait(rows_full + k, count & 1);
      barrier_wait(full + s, (step / stages) & 1);
      wgmma_fence();
      uint64_t a = k_major(a_base + k * kBlockBytes), b = k_major(b_base + s * kBlockBytes);
#pragma unroll
      for (int i = 0; i < 4; ++i) wgmma_n128<0, 0>(now, a + 2 * i, b + 2 * i, k + i > 0);
      wgmma_commit();
      if (k > 0) {
        wgmma_wait<1>();  // the step before is done with its weights
        if (leader) {
          barrier_arrive(empty + (step - 1) % stages);
          if (last) barrier_arrive(rows_empty + k - 1);
        }
      }
      rotate_block(before, k, previous, out, &product, rotation, angles, group);
    }
    wgmma_wait<0>();
    settle(now);
    if (leader) {
      barrier_arrive(empty + (step - 1) % stages);
      if (last) barrier_arrive(rows_empty + kBlocks - 1);
    }
    previous = tile;
  };

  for (int unit = blockIdx.x, count = 0; unit < units; unit += gridDim.x, ++count) {
    int row = unit / 2 * kRows + group * 64, first = unit % 2 * tiles;
    for (int t = 0; t < tiles; t += 2) {
      run(acc[0], acc[1], {row, (first + t) * 128}, count, t == 0, false);
      if (t == 0 && rotation.cos) {  // after the last tile of the rows before
        int warp = threadIdx.x % 128 / 32, lane = threadIdx.x % 32;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          int token = (row + warp * 16 + lane / 4 + 8 * half) % rotation.tokens;
#pragma unroll
          for (int block = 0; block < 4; ++block) {
            int at = token * 32 + block * 8 + lane % 4 * 2;
            angles.cos[half][block] = *reinterpret_cast<const float2*>(rotation.cos + at);
            angles.sin[half][block] = *reinterpret_cast<const float2*>(rotation.sin + at);
          }
        }
      }
      run(acc[1], acc[0], {row, (first + t + 1) * 128}, count, false, t + 2 == tiles);
    }
  }
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    rotate_block(acc[1], i, previous, out, &product, rotation, angles, group);
  }
  if (leader) tma_store_wait_read();
}

}  // namespace

void project_qkv(const ProjectionMaps& maps, const float* cos, const float* sin, int rows,
                 int tokens, int columns, int processors, cudaStream_t stream) {
  static const cudaError_t set =
      cudaFuncSetAttribute(projection_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kShared);
  check(set, "project_qkv");
  int units = (rows + kRows - 1) / kRows * 2;
  int blocks = std::min(units, processors);
  projection_kernel<<<blocks, kThreads, kShared, stream>>>(
      maps.x, maps.weight, maps.out, {cos, sin, tokens, columns / 3 * 2}, columns / 256, units);
  check(cudaGetLastError(), "project_qkv");
}

}  // namespace trm::ops::cuda
