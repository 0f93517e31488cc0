// P = silu(X Wg^T) * (X Wu^T) in one kernel, X (rows, 512), optionally also storing [g | u]. A
// block keeps 128 rows of X in shared memory and streams the weights past them; each of its two
// warpgroups holds two accumulators, so that the gate of one tile is computed while the tensor
// cores work on the next. With the weights' rows in weight_map's order a thread holds whole 16
// bytes of a row, so that results go to device memory straight from the registers.
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
  half *product, *gate_up;  // (rows, inner), (rows, 2 inner)
  int rows, inner;
};

struct Tile {  // where an accumulator's values belong; beyond the rows is none
  int row, column;
};

struct Pending {  // words of a store of 16 bytes
  uint32_t p[4], g[4], u[4];
};

// Part i of 8 of the previous tile, 4 columns of a row; two parts are stored together.
template <bool kSave>
__device__ __forceinline__ void gate_part(const float (&acc)[64], int i, const Tile& tile,
                                          const Output& out, Pending& pending) {
  int group = i / 4, half = i / 2 % 2, upper = i % 2;
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    int block = 2 * upper + j, at = 16 * group + 4 * block + 2 * half;
    float g0 = acc[at], g1 = acc[at + 1], u0 = acc[32 + at], u1 = acc[33 + at];
    pending.p[block] = pack(g0 * sigmoid(g0) * u0, g1 * sigmoid(g1) * u1);
    if (kSave) pending.g[block] = pack(g0, g1), pending.u[block] = pack(u0, u1);
  }
  int row = tile.row + half * 8;
  if (upper && row < out.rows) {
    int column = tile.column + group * 32 + threadIdx.x % 4 * 8;
    store_words(out.product + static_cast<int64_t>(row) * out.inner + column, pending.p);
    if (kSave) {
      auto* to = out.gate_up + static_cast<int64_t>(row) * 2 * out.inner + column;
      store_words(to, pending.g);
      store_words(to + out.inner, pending.u);
    }
  }
}

template <bool kSave>
__global__ __launch_bounds__(kThreads,
                             1) void swiglu_kernel(const __grid_constant__ CUtensorMap x,
                                                   const __grid_constant__ CUtensorMap weight,
                                                   Output out, int units) {
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

  int tiles = out.inner / 128;  // a unit of work: 128 rows and half of the inner columns
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
            int gate = (first + t) * 2, up = out.inner / 32 + gate;  // groups of 32
            tma_load_weight(to, &weight, full + s, k * 64, gate);
            tma_load_weight(to + kBlockBytes / 2, &weight, full + s, k * 64, up);
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
  Pending pending;
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
      gate_part<kSave>(before, k, previous, out, pending);
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
      run(acc[0], acc[1], {row, (first + t) * 64}, count, t == 0, false);
      run(acc[1], acc[0], {row, (first + t + 1) * 64}, count, false, t + 2 == tiles);
    }
  }
#pragma unroll
  for (int i = 0; i < 8; ++i) gate_part<kSave>(acc[1], i, previous, out, pending);
}

template <bool kSave>
void launch(const SwigluMaps& maps, const Output& out, int processors, cudaStream_t stream) {
  auto* kernel = swiglu_kernel<kSave>;
  static const cudaError_t set =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kShared);
  check(set, "swiglu");
  int units = (out.rows + kRows - 1) / kRows * 2;
  int blocks = std::min(units, processors);
  kernel<<<blocks, kThreads, kShared, stream>>>(maps.x, maps.weight, out, units);
  check(cudaGetLastError(), "swiglu");
}

}  // namespace

void swiglu(const SwigluMaps& maps, half* product, half* gate_up, int rows, int inner,
            int processors, cudaStream_t stream) {
  Output out{product, gate_up, rows, inner};
  gate_up ? launch<true>(maps, out, processors, stream)
          : launch<false>(maps, out, processors, stream);
}

}  // namespace trm::ops::cuda
