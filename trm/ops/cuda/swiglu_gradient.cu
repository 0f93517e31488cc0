// The gradient through the gate in one kernel: dp = ds Wd on the tensor cores, then with the stored
// g and u: dg, du and p = silu(g) u. Bound by memory, so what matters is that copies never wait:
// one thread streams the weights, another brings g and u in and takes dg, du and p out.
#include <algorithm>

#include "trm/ops/cuda/kernels.h"
#include "trm/ops/cuda/sm90.cuh"
#include "trm/ops/cuda/wgmma.cuh"

namespace trm::ops::cuda {
namespace {

constexpr int kRows = 128, kThreads = 384, kBlocks = 8, kStages = 8;
constexpr int kBlockBytes = kRows * 128;  // 128 rows of 64 values
constexpr int kWeightBytes = 64 * 128;
constexpr int kShared =
    1024 + kBlocks * kBlockBytes + kStages * kWeightBytes + 8 * (2 * kBlocks + 2 * kStages);

__global__ __launch_bounds__(kThreads, 1) void swiglu_gradient_kernel(
    const __grid_constant__ SwigluGradientMaps maps, SwigluGradientArrays arrays, int64_t total,
    int inner, int units) {
  extern __shared__ char raw[];
  char* shared = raw + (1024 - shared_address(raw) % 1024) % 1024;
  char* rows = shared;
  char* ring = rows + kBlocks * kBlockBytes;
  auto* rows_full = reinterpret_cast<uint64_t*>(ring + kStages * kWeightBytes);
  uint64_t *rows_empty = rows_full + kBlocks, *full = rows_empty + kBlocks, *empty = full + kStages;
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

  int tiles = inner / 128;  // a unit of work: 128 rows and half of the inner columns
  if (threadIdx.x < 128) {
    give_registers<40>();
    if (threadIdx.x == 0) {
      int step = 0;
      for (int unit = blockIdx.x, count = 0; unit < units; unit += gridDim.x, ++count) {
        int first = unit % 2 * tiles;
        for (int t = 0; t < tiles; ++t) {
          for (int k = 0; k < kBlocks; ++k, ++step) {
            if (t == 0) {
              barrier_wait(rows_empty + k, (count & 1) ^ 1);
              barrier_expect(rows_full + k, kBlockBytes);
              tma_load(rows + k * kBlockBytes, &maps.ds, rows_full + k, k * 64, unit / 2 * kRows);
            }
            int s = step % kStages;
            barrier_wait(empty + s, ((step / kStages) & 1) ^ 1);
            barrier_expect(full + s, kWeightBytes);
            tma_load(ring + s * kWeightBytes, &maps.down, full + s, (first + t) * 64, k * 64);
          }
        }
      }
    }
    return;
  }

  take_registers<232>();
  int group = threadIdx.x / 128 - 1;
  int warp = threadIdx.x % 128 / 32, lane = threadIdx.x % 32;
  bool leader = threadIdx.x % 128 == 0;
  uint32_t a_base = shared_address(rows) + group * 64 * 128;
  uint32_t b_base = shared_address(ring);
  int row = group * 64 + warp * 16 + lane / 4;
  int step = 0;
  for (int unit = blockIdx.x, count = 0; unit < units; unit += gridDim.x, ++count) {
    int64_t at_row = static_cast<int64_t>(unit / 2) * kRows + row;
    for (int t = 0; t < tiles; ++t) {
      bool last = t + 1 == tiles;
      // Four columns of one of two blocks of 8 (see four_columns), for 4 such pairs and rows r, r
      // + 8.
      int column = (unit % 2 * tiles + t) * 64 + lane % 2 * 8 + lane % 4 / 2 * 4;
      int64_t at = at_row * 2 * inner + column;
      uint2 g[8], u[8];
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        int64_t from = at + i % 2 * 16 * inner + i / 2 * 16;
        bool valid = at_row + i % 2 * 8 < total;
        g[i] = valid ? __ldcs(reinterpret_cast<const uint2*>(arrays.gate_up + from)) : uint2{0, 0};
        u[i] = valid ? __ldcs(reinterpret_cast<const uint2*>(arrays.gate_up + from + inner))
                     : uint2{0, 0};
      }
      float dp[32];
#pragma unroll
      for (int k = 0; k < kBlocks; ++k, ++step) {
        int s = step % kStages;
        if (t == 0) barrier_wait(rows_full + k, count & 1);
        barrier_wait(full + s, (step / kStages) & 1);
        wgmma_fence();
        uint64_t a = k_major(a_base + k * kBlockBytes);
        uint32_t b = b_base + s * kWeightBytes;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          wgmma_n64<0, 1>(dp, a + 2 * i, mn_major(b + i * 2048), k + i > 0);
        }
        wgmma_commit();
        if (k > 0) {
          wgmma_wait<1>();
          if (leader) {
            barrier_arrive(empty + (step - 1) % kStages);
            if (last) barrier_arrive(rows_empty + k - 1);
          }
        }
      }
      wgmma_wait<0>();
      settle(dp);
      if (leader) {
        barrier_arrive(empty + (step - 1) % kStages);
        if (last) barrier_arrive(rows_empty + kBlocks - 1);
      }
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        float d[4] = {dp[i / 2 * 8 + i % 2 * 2], dp[i / 2 * 8 + i % 2 * 2 + 1],
                      dp[i / 2 * 8 + 4 + i % 2 * 2], dp[i / 2 * 8 + 5 + i % 2 * 2]};
        four_columns(d[0], d[2]);
        four_columns(d[1], d[3]);
        float gate[4] = {low(g[i].x), high(g[i].x), low(g[i].y), high(g[i].y)};
        float up[4] = {low(u[i].x), high(u[i].x), low(u[i].y), high(u[i].y)};
        float dg[4], du[4], p[4];
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          float s = sigmoid(gate[j]), a = gate[j] * s;
          dg[j] = d[j] * up[j] * (s + a * (1 - s));
          du[j] = d[j] * a;
          p[j] = a * up[j];
        }
        if (at_row + i % 2 * 8 < total) {
          int64_t to = at + i % 2 * 16 * inner + i / 2 * 16;
          int64_t to_p = (at_row + i % 2 * 8) * inner + column + i / 2 * 16;
          *reinterpret_cast<uint2*>(arrays.dgate_up + to) = {pack(dg[0], dg[1]),
                                                             pack(dg[2], dg[3])};
          *reinterpret_cast<uint2*>(arrays.dgate_up + to + inner) = {pack(du[0], du[1]),
                                                                     pack(du[2], du[3])};
          *reinterpret_cast<uint2*>(arrays.product + to_p) = {pack(p[0], p[1]), pack(p[2], p[3])};
        }
      }
    }
  }
}

}  // namespace

void swiglu_gradient(const SwigluGradientMaps& maps, const SwigluGradientArrays& arrays,
                     int64_t rows, int inner, int processors, cudaStream_t stream) {
  static const cudaError_t set = cudaFuncSetAttribute(
      swiglu_gradient_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kShared);
  check(set, "swiglu_gradient");
  int units = static_cast<int>((rows + kRows - 1) / kRows) * 2;
  int blocks = std::min(units, processors);
  swiglu_gradient_kernel<<<blocks, kThreads, kShared, stream>>>(maps, arrays, rows, inner, units);
  check(cudaGetLastError(), "swiglu_gradient");
}

}  // namespace trm::ops::cuda
