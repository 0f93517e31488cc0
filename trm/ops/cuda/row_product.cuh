// Products of X (rows, 512) with weights whose results leave straight from the registers. A block
// keeps 128 rows of X in shared memory and streams the weights past them, 128 columns a tile; each
// of its two warpgroups holds two accumulators, so that what becomes of one tile is computed while
// the tensor cores work on the next. With the weights' rows in weight_map's order a thread holds
// whole 16 bytes of a row.
#pragma once

#include "trm/ops/cuda/sm90.cuh"
#include "trm/ops/cuda/wgmma.cuh"

namespace trm::ops::cuda {

struct RowProduct {
  static constexpr int kRows = 128, kThreads = 384;
  static constexpr int kBlockBytes = kRows * 128;  // 128 rows of 64 values: of X or of weights
  static constexpr int kBlocks = 8, kStages = 6;
  static constexpr int kShared =
      1024 + (kBlocks + kStages) * kBlockBytes + 8 * (2 * kBlocks + 2 * kStages);

  char *rows, *ring;
  uint64_t *rows_full, *rows_empty, *full, *empty;

  /// From shared memory at a multiple of 1024 bytes.
  __device__ __forceinline__ explicit RowProduct(char* shared)
      : rows(shared), ring(rows + kBlocks * kBlockBytes) {
    rows_full = reinterpret_cast<uint64_t*>(ring + kStages * kBlockBytes);
    rows_empty = rows_full + kBlocks, full = rows_empty + kBlocks, empty = full + kStages;
    if (threadIdx.x == 0) {
      ring_init(rows_full, rows_empty, kBlocks, 2);
      ring_init(full, empty, kStages, 2);
      fence_barriers();
    }
    __syncthreads();
  }

  /// The first warpgroup's part. A unit of work is 128 rows and half of the columns, `tiles` tiles.
  /// load(to, barrier, k, tile): copies of 64 x 128 weights, columns of X from k.
  template <typename Load>
  __device__ __forceinline__ void produce(const CUtensorMap& x, int tiles, int units,
                                          const Load& load) {
    give_registers<40>();
    if (threadIdx.x != 0) return;
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
          load(ring + s * kBlockBytes, full + s, k * 64, first + t);
        }
      }
    }
  }

  /// The other warpgroups' part; tiles is even, each of `width` columns of the result.
  /// part(accumulators, i, row, column) takes an eighth of a tile's results, of the thread's rows
  /// `row` and row + 8; begin(row) comes before the first of a row is taken. The first parts are of
  /// no tile: their row is `none`.
  template <int width, typename Part, typename Begin>
  __device__ __forceinline__ void consume(int tiles, int units, int none, const Part& part,
                                          const Begin& begin) {
    take_registers<232>();
    int group = threadIdx.x / 128 - 1;
    bool leader = threadIdx.x % 128 == 0;
    int line = group * 64 + threadIdx.x % 128 / 32 * 16 + threadIdx.x % 32 / 4;
    uint32_t a_base = shared_address(rows) + group * 64 * 128;
    uint32_t b_base = shared_address(ring);
    float acc[2][64] = {};
    int row_before = none, column_before = 0, step = 0;

    auto run = [&](float(&now)[64], float(&before)[64], int row, int column, int count, bool load,
                   bool last) {
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
        part(before, k, row_before, column_before);
      }
      if (load) begin(row);
      wgmma_wait<0>();
      settle(now);
      if (leader) {
        barrier_arrive(empty + (step - 1) % kStages);
        if (last) barrier_arrive(rows_empty + kBlocks - 1);
      }
      row_before = row, column_before = column;
    };

    for (int unit = blockIdx.x, count = 0; unit < units; unit += gridDim.x, ++count) {
      int row = unit / 2 * kRows + line, first = unit % 2 * tiles;
      for (int t = 0; t < tiles; t += 2) {
        run(acc[0], acc[1], row, (first + t) * width, count, t == 0, false);
        run(acc[1], acc[0], row, (first + t + 1) * width, count, false, t + 2 == tiles);
      }
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) part(acc[1], i, row_before, column_before);
  }
};

}  // namespace trm::ops::cuda
