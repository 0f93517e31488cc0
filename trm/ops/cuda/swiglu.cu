// P = silu(X Wg^T) * (X Wu^T) in one kernel, X (rows, 64*kBlocks), optionally also storing [g | u].
// A block keeps 128 rows of X in shared memory and streams the weights past them; each of its two
// warpgroups holds two accumulators, so that the gate of one tile is computed while the tensor
// cores work on the next.
#include <algorithm>

#include "trm/ops/cuda/kernels.h"
#include "trm/ops/cuda/sm90.cuh"
#include "trm/ops/cuda/wgmma.cuh"

namespace trm::ops::cuda {
namespace {

constexpr int kRows = 128, kThreads = 384;
constexpr int kBlockBytes = kRows * 128;  // 128 rows of 64 values: a block of X or of weights
constexpr int kTileBytes = 64 * 128;      // 64 x 64 outputs of a warpgroup

constexpr int kStages = 5;
template <int kBlocks>
constexpr int kShared = 1024 + (kBlocks + kStages) * kBlockBytes + 2 * kTileBytes +
                        8 * (2 * kBlocks + 2 * kStages);

struct Tile {  // where an accumulator's values belong; row < 0 is none
  int row = -1, column = 0;
};

struct Saved {  // gate_up (rows, 2 inner), written straight from the registers
  half* gate_up;
  int rows, inner;
};

// The gate of 8 columns (block i of 8) of the previous tile, into shared memory; the last block
// sends the tile off.
template <bool kSave>
__device__ __forceinline__ void gate_block(const float (&acc)[64], int i, const Tile& tile,
                                           char* out, const CUtensorMap* product,
                                           const Saved& saved, int group) {
  int thread = threadIdx.x % 128, warp = thread / 32, lane = thread % 32;
  if (i == 0) {
    if (thread == 0) tma_store_wait_read();
    group_sync(1 + group);
  }
  int row = warp * 16 + lane / 4;
  uint32_t offset = row * 128 + ((i ^ (row & 7)) << 4) + (lane % 4) * 4;
#pragma unroll
  for (int half = 0; half < 2; ++half) {  // rows r and r + 8: the same swizzle
    float g0 = acc[4 * i + 2 * half], g1 = acc[4 * i + 2 * half + 1];
    float u0 = acc[32 + 4 * i + 2 * half], u1 = acc[32 + 4 * i + 2 * half + 1];
    *reinterpret_cast<uint32_t*>(out + offset + half * 1024) =
        pack(g0 * sigmoid(g0) * u0, g1 * sigmoid(g1) * u1);
    if (kSave && i % 2 == 1) {
      int before = 4 * (i - 1) + 2 * half;
      uint32_t g = pack(acc[before], acc[before + 1]), g_next = pack(g0, g1);
      uint32_t u = pack(acc[32 + before], acc[32 + before + 1]), u_next = pack(u0, u1);
      four_columns(g, g_next);
      four_columns(u, u_next);
      int at_row = tile.row + row + 8 * half;
      int column = tile.column + (i - 1 + lane % 2) * 8 + lane % 4 / 2 * 4;
      if (tile.row >= 0 && at_row < saved.rows) {
        auto* at = saved.gate_up + static_cast<int64_t>(at_row) * 2 * saved.inner + column;
        *reinterpret_cast<uint2*>(at) = {g, g_next};
        *reinterpret_cast<uint2*>(at + saved.inner) = {u, u_next};
      }
    }
  }
  if (i == 7) {
    fence_async_proxy();
    group_sync(1 + group);
    if (thread == 0 && tile.row >= 0) {
      tma_store(product, out, tile.column, tile.row);
      tma_store_commit();
    }
  }
}

template <int kBlocks, bool kSave>  // kBlocks steps a tile, and 8 blocks of a gate tile: one each
__global__ __launch_bounds__(kThreads,
                             1) void swiglu_kernel(const __grid_constant__ CUtensorMap x,
                                                   const __grid_constant__ CUtensorMap weight,
                                                   const __grid_constant__ CUtensorMap product,
                                                   Saved saved, int inner, int units) {
  constexpr int stages = kStages;
  extern __shared__ char raw[];
  char* shared = raw + (1024 - shared_address(raw) % 1024) % 1024;
  char* rows = shared;
  char* ring = rows + kBlocks * kBlockBytes;
  char* outputs = ring + stages * kBlockBytes;
  auto* barriers = reinterpret_cast<uint64_t*>(outputs + 2 * kTileBytes);
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

  int tiles = inner / 128;  // a unit of work: 128 rows and half of the inner columns
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
            tma_load(to, &weight, full + s, k * 64, (first + t) * 64);
            tma_load(to + kTileBytes, &weight, full + s, k * 64, inner + (first + t) * 64);
          }
        }
      }
    }
    return;
  }

  take_registers<232>();
  int group = threadIdx.x / 128 - 1;
  bool leader = threadIdx.x % 128 == 0;
  char* out = outputs + group * kTileBytes;
  uint32_t a_base = shared_address(rows) + group * 64 * 128;
  uint32_t b_base = shared_address(ring);
  float acc[2][64] = {};
  Tile previous;
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
      gate_block<kSave>(before, k, previous, out, &product, saved, group);
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
      run(acc[0], acc[1], {row, (first + t) * 64}, count, t == 0, false);
      run(acc[1], acc[0], {row, (first + t + 1) * 64}, count, false, t + 2 == tiles);
    }
  }
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    gate_block<kSave>(acc[1], i, previous, out, &product, saved, group);
  }
  if (leader) tma_store_wait_read();
}

template <bool kSave>
void launch(const SwigluMaps& m, const Saved& saved, int processors, cudaStream_t stream) {
  constexpr int bytes = kShared<8>;
  auto* kernel = swiglu_kernel<8, kSave>;
  static const cudaError_t set =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  check(set, "swiglu");
  int units = (saved.rows + kRows - 1) / kRows * 2;
  int blocks = std::min(units, processors);
  kernel<<<blocks, kThreads, bytes, stream>>>(m.x, m.weight, m.product, saved, saved.inner, units);
  check(cudaGetLastError(), "swiglu");
}

}  // namespace

void swiglu(const SwigluMaps& maps, int rows, int inner, half* gate_up, int processors,
            cudaStream_t stream) {
  Saved saved{gate_up, rows, inner};
  gate_up ? launch<true>(maps, saved, processors, stream)
          : launch<false>(maps, saved, processors, stream);
}

}  // namespace trm::ops::cuda
