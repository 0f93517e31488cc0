// The gradient through the gate in one kernel: dp = ds Wd on the tensor cores, then with the stored
// g and u: dg, du and p = silu(g) u. Bound by memory, so what matters is that copies never wait: of
// each thing that comes in the next pieces are already under way, brought by a thread of its own,
// and results leave from where g and u lay.
#include <algorithm>

#include "trm/ops/cuda/kernels.h"
#include "trm/ops/cuda/sm90.cuh"
#include "trm/ops/cuda/wgmma.cuh"

namespace trm::ops::cuda {
namespace {

constexpr int kRows = 128, kThreads = 384, kBlocks = 8, kRowStages = 2, kStages = 5, kSlots = 3;
constexpr int kBlockBytes = kRows * 128;  // 128 rows of 64 values
constexpr int kTileBytes = 64 * 128;      // 64 x 64 values
constexpr int kSlotBytes = 3 * kTileBytes;
constexpr int kShared = 1024 + kRowStages * kBlockBytes + kStages * kTileBytes +
                        2 * kSlots * kSlotBytes + 8 * 2 * (kRowStages + kStages + 2 * kSlots);

__global__ __launch_bounds__(kThreads, 1) void swiglu_gradient_kernel(
    const __grid_constant__ SwigluGradientMaps maps, int inner, int units) {
  extern __shared__ char raw[];
  char* rows = raw + tile_gap(raw);
  char* ring = rows + kRowStages * kBlockBytes;
  char* slots = ring + kStages * kTileBytes;
  auto* rows_full = reinterpret_cast<uint64_t*>(slots + 2 * kSlots * kSlotBytes);
  uint64_t *rows_empty = rows_full + kRowStages, *full = rows_empty + kRowStages,
           *empty = full + kStages, *gates_full = empty + kStages,
           *gates_empty = gates_full + 2 * kSlots;
  if (threadIdx.x == 0) {
    ring_init(rows_full, rows_empty, kRowStages, 8);
    ring_init(full, empty, kStages, 2);
    ring_init(gates_full, gates_empty, 2 * kSlots, 1);
    fence_barriers();
  }
  __syncthreads();

  int tiles = inner / 128;  // a unit of work: 128 rows and half of the inner columns
  if (threadIdx.x < 128) {
    give_registers<40>();
    if (threadIdx.x == 0) {
      Place<kStages> at;
      for (int unit = blockIdx.x; unit < units; unit += gridDim.x) {
        for (int t = 0; t < tiles; ++t) {
          for (int k = 0; k < kBlocks; ++k, at.next()) {
            barrier_wait(empty + at.stage, at.parity ^ 1);
            barrier_expect(full + at.stage, kTileBytes);
            tma_load(ring + at.stage * kTileBytes, &maps.down, full + at.stage,
                     (unit % 2 * tiles + t) * 64, k * 64);
          }
        }
      }
    } else if (threadIdx.x == 32) {
      Place<kRowStages> at;
      for (int unit = blockIdx.x; unit < units; unit += gridDim.x) {
        for (int k = 0; k < kBlocks; ++k, at.next()) {
          barrier_wait(rows_empty + at.stage, at.parity ^ 1);
          barrier_expect(rows_full + at.stage, kBlockBytes);
          tma_load(rows + at.stage * kBlockBytes, &maps.ds, rows_full + at.stage, k * 64,
                   unit / 2 * kRows);
        }
      }
    } else if (threadIdx.x == 64 || threadIdx.x == 96) {
      int group = threadIdx.x / 32 - 2;
      Place<kSlots> at;
      for (int unit = blockIdx.x; unit < units; unit += gridDim.x) {
        for (int t = 0; t < tiles; ++t, at.next()) {
          int slot = group * kSlots + at.stage;
          barrier_wait(gates_empty + slot, at.parity ^ 1);
          barrier_expect(gates_full + slot, 2 * kTileBytes);
          char* to = slots + slot * kSlotBytes;
          int column = (unit % 2 * tiles + t) * 64, row = unit / 2 * kRows + group * 64;
          tma_load(to, &maps.gate_up, gates_full + slot, column, row);
          tma_load(to + kTileBytes, &maps.gate_up, gates_full + slot, inner + column, row);
        }
      }
    }
    return;
  }

  take_registers<232>();
  int group = threadIdx.x / 128 - 1, warp = threadIdx.x % 128 / 32, lane = threadIdx.x % 32;
  bool leader = threadIdx.x % 128 == 0;
  uint32_t ring_base = shared_address(ring);
  int row = warp * 16 + lane / 4;
  Place<kRowStages> at_rows;
  Place<kStages> at;
  Place<kSlots> at_slot;
  int sent = -1;  // the slot whose results are on their way out
  for (int unit = blockIdx.x; unit < units; unit += gridDim.x) {
    uint32_t ds[4 * kBlocks][4];  // left operands of all the unit's products
#pragma unroll
    for (int k = 0; k < kBlocks; ++k) {
      barrier_wait(rows_full + at_rows.stage, at_rows.parity);
      uint32_t own = shared_address(rows) + at_rows.stage * kBlockBytes +
                     (group * 64 + warp * 16 + lane % 16) * 128;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        load_operand(own + (((2 * i + lane / 16) ^ (lane & 7)) << 4), ds[4 * k + i]);
      }
      __syncwarp();
      if (lane == 0) barrier_arrive(rows_empty + at_rows.stage);
      at_rows.next();
    }
    for (int t = 0; t < tiles; ++t) {
      float dp[32];
      int before = 0;
#pragma unroll
      for (int k = 0; k < kBlocks; ++k) {
        barrier_wait(full + at.stage, at.parity);
        wgmma_fence();
        uint32_t b = ring_base + at.stage * kTileBytes;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          wgmma_n64_regs<1>(dp, ds[4 * k + i], mn_major(b + i * 2048), k + i > 0);
        }
        wgmma_commit();
        if (k > 0) {
          wgmma_wait<1>();
          if (leader) barrier_arrive(empty + before);
        }
        before = at.stage;
        at.next();
        if (k == 3 && leader && sent >= 0) {
          tma_store_wait_read();
          barrier_arrive(gates_empty + sent);
        }
      }
      wgmma_wait<0>();
      settle(dp);
      if (leader) barrier_arrive(empty + before);
      int slot = group * kSlots + at_slot.stage;
      barrier_wait(gates_full + slot, at_slot.parity);
      at_slot.next();
      char* tile = slots + slot * kSlotBytes;
#pragma unroll
      for (int i = 0; i < 16; ++i) {  // two columns of a block of 8, row r or r + 8
        char* place = tile + (row + i % 2 * 8) * 128 + ((i / 2 ^ (row & 7)) << 4) + lane % 4 * 4;
        auto* g = reinterpret_cast<uint32_t*>(place);
        auto* u = reinterpret_cast<uint32_t*>(place + kTileBytes);
        float gate[2] = {low(*g), high(*g)}, up[2] = {low(*u), high(*u)}, dg[2], du[2], p[2];
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          float d = dp[i * 2 + j];
          float s = sigmoid(gate[j]), a = gate[j] * s;
          dg[j] = d * up[j] * (s + a * (1 - s));
          du[j] = d * a;
          p[j] = a * up[j];
        }
        *g = pack(dg[0], dg[1]);
        *u = pack(du[0], du[1]);
        *reinterpret_cast<uint32_t*>(place + 2 * kTileBytes) = pack(p[0], p[1]);
      }
      fence_async_proxy();
      group_sync(1 + group);
      if (leader) {
        int column = (unit % 2 * tiles + t) * 64, to = unit / 2 * kRows + group * 64;
        tma_store(&maps.dgate_up, tile, column, to);
        tma_store(&maps.dgate_up, tile + kTileBytes, inner + column, to);
        tma_store(&maps.product, tile + 2 * kTileBytes, column, to);
        tma_store_commit();
      }
      sent = slot;
    }
  }
  if (leader) tma_store_wait_read();
}

}  // namespace

void swiglu_gradient(const SwigluGradientMaps& maps, int64_t rows, int inner, int processors,
                     cudaStream_t stream) {
  static const cudaError_t set = cudaFuncSetAttribute(
      swiglu_gradient_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kShared);
  check(set, "swiglu_gradient");
  int units = static_cast<int>((rows + kRows - 1) / kRows) * 2;
  int blocks = std::min(units, processors);
  swiglu_gradient_kernel<<<blocks, kThreads, kShared, stream>>>(maps, inner, units);
  check(cudaGetLastError(), "swiglu_gradient");
}

}  // namespace trm::ops::cuda
