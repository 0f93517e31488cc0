// y = RMS(x + p weight^T) of rows of 512 in one kernel. Two blocks of a cluster take 128 rows, each
// block half of the columns: the halves' sums of squares meet in the other block's shared memory,
// so that the sum never goes to device memory. x comes straight into registers and y leaves from
// them, all of shared memory is for the operands.
#include <algorithm>

#include "trm/ops/cuda/kernels.h"
#include "trm/ops/cuda/sm90.cuh"
#include "trm/ops/cuda/wgmma.cuh"

namespace trm::ops::cuda {
namespace {

constexpr int kRows = 128, kWidth = 512, kThreads = 384, kStages = 4;
constexpr int kBlockBytes = kRows * 128;      // 128 rows of 64 values
constexpr int kStageBytes = 3 * kBlockBytes;  // of p and of 256 rows of the weight
constexpr int kShared = 1024 + kStages * kStageBytes + 2 * kRows * 4 + 8 * (2 * kStages + 4);

__device__ __forceinline__ uint32_t cluster_rank() {
  uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}

__device__ __forceinline__ void cluster_sync() {
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::
                   : "memory");
}

// Writes into the shared memory of the other block, and counts the bytes at its barrier.
__device__ __forceinline__ void send(float value, const float* to, const uint64_t* barrier,
                                     uint32_t rank) {
  uint32_t address, signal;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(address) : "r"(shared_address(to)), "r"(rank));
  asm("mapa.shared::cluster.u32 %0, %1, %2;"
      : "=r"(signal)
      : "r"(shared_address(barrier)), "r"(rank));
  asm volatile(
      "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.b32 [%0], %1, [%2];" ::"r"(
          address),
      "r"(__float_as_uint(value)), "r"(signal)
      : "memory");
}

__device__ __forceinline__ void prefetch(const half* from, uint32_t bytes) {  // into the L2 cache
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(from), "r"(bytes) : "memory");
}

// Not moved by the compiler: x may lie where y is written, and is fetched behind the last product.
__device__ __forceinline__ uint4 load_now(const half* from) {
  uint4 v;
  asm volatile("ld.global.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(from)
               : "memory");
  return v;
}

__global__ __cluster_dims__(2, 1, 1) __launch_bounds__(kThreads, 1) void product_norm_kernel(
    const __grid_constant__ CUtensorMap p, const __grid_constant__ CUtensorMap weight,
    const half* x, half* y, float* r, int rows, int steps, int tiles, float eps) {
  extern __shared__ char raw[];
  char* ring = align_shared(raw);
  auto* sums = reinterpret_cast<float*>(ring + kStages * kStageBytes);  // two tiles' of the other
  auto* barriers = reinterpret_cast<uint64_t*>(sums + 2 * kRows);
  uint64_t *full = barriers, *empty = full + kStages, *sums_full = empty + kStages;
  if (threadIdx.x == 0) {
    ring_init(full, empty, kStages, 2);
    for (int i = 0; i < 4; ++i) barrier_init(sums_full + i, 1);  // of each tile and warpgroup
    fence_barriers();
  }
  cluster_sync();
  auto rank = static_cast<int>(cluster_rank());
  int first = blockIdx.x / 2, clusters = gridDim.x / 2;

  if (threadIdx.x < 128) {
    give_registers<24>();
    if (threadIdx.x == 0) {
      int step = 0;
      for (int tile = first; tile < tiles; tile += clusters) {
        int begin = tile * kRows + rank * 64, lines = min(64, rows - begin);
        if (lines > 0) {
          prefetch(x + static_cast<int64_t>(begin) * kWidth,
                   static_cast<uint32_t>(lines * kWidth * 2));
        }
        for (int k = 0; k < steps; ++k, ++step) {
          int s = step % kStages;
          char* to = ring + s * kStageBytes;
          barrier_wait(empty + s, ((step / kStages) & 1) ^ 1);
          barrier_expect(full + s, kStageBytes);
          tma_load(to, &p, full + s, k * 64, tile * kRows);
          tma_load_weight(to + kBlockBytes, &weight, full + s, k * 64, rank * 8);
          tma_load_weight(to + 2 * kBlockBytes, &weight, full + s, k * 64, rank * 8 + 4);
        }
      }
    }
    return;
  }

  take_registers<240>();
  int group = threadIdx.x / 128 - 1, thread = threadIdx.x % 128, lane = threadIdx.x % 32;
  int row = group * 64 + thread / 32 * 16 + lane / 4;  // and row + 8
  float acc[2][64];
  int step = 0;
  for (int tile = first, count = 0; tile < tiles; tile += clusters, ++count) {
    uint64_t* arrived = sums_full + 2 * group + count % 2;
    float* theirs = sums + count % 2 * kRows;
    if (thread == 0) barrier_expect(arrived, kRows / 2 * 4);
    auto multiply = [&](int k) {
      int s = step % kStages;
      uint32_t stage = shared_address(ring + s * kStageBytes);
      barrier_wait(full + s, (step / kStages) & 1);
      wgmma_fence();
      uint64_t a = k_major(stage + group * 64 * 128);
      uint64_t b = k_major(stage + kBlockBytes), c = k_major(stage + 2 * kBlockBytes);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        wgmma_n128<0, 0>(acc[0], a + 2 * i, b + 2 * i, k + i > 0);
        wgmma_n128<0, 0>(acc[1], a + 2 * i, c + 2 * i, k + i > 0);
      }
      wgmma_commit();
      if (k > 0) {
        wgmma_wait<1>();
        if (thread == 0) barrier_arrive(empty + (step - 1) % kStages);
      }
      ++step;
    };
    for (int k = 0; k < steps - 1; ++k) multiply(k);
    // x arrives behind the last two products; columns 8 t to 8 t + 7 of each 32 are thread t's
    // (weight_map).
    int64_t at = static_cast<int64_t>(tile * kRows + row) * kWidth + rank * 256 + lane % 4 * 8;
    bool inside[2] = {tile * kRows + row < rows, tile * kRows + row + 8 < rows};
    uint4 addend[2][8];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        addend[half][i] = {};
        if (inside[half]) addend[half][i] = load_now(x + at + half * 8 * kWidth + i * 32);
      }
    }
    multiply(steps - 1);
    wgmma_wait<0>();
    settle(acc[0]);
    settle(acc[1]);
    if (thread == 0) barrier_arrive(empty + (step - 1) % kStages);

    float square[2] = {}, scale[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        float(&v)[64] = acc[i / 4];
#pragma unroll
        for (int block = 0; block < 4; ++block) {
          int j = i % 4 * 16 + 4 * block + 2 * half;
          uint32_t bits = (&addend[half][i].x)[block];
          v[j] += low(bits), v[j + 1] += high(bits);
          square[half] += v[j] * v[j] + v[j + 1] * v[j + 1];
        }
      }
      square[half] = quad_sum(square[half]);
      if (lane % 4 == 0) {
        send(square[half], theirs + row + 8 * half, arrived, static_cast<uint32_t>(rank ^ 1));
      }
    }
    barrier_wait(arrived, (count / 2) & 1);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      scale[half] = rsqrtf((square[half] + theirs[row + 8 * half]) / kWidth + eps);
      if (!inside[half]) continue;
      if (r && rank == 0 && lane % 4 == 0) {
        r[tile * kRows + row + 8 * half] = scale[half];
      }
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const float(&v)[64] = acc[i / 4];
        uint32_t words[4];
#pragma unroll
        for (int block = 0; block < 4; ++block) {
          int j = i % 4 * 16 + 4 * block + 2 * half;
          words[block] = pack(v[j] * scale[half], v[j + 1] * scale[half]);
        }
        store_words(y + at + half * 8 * kWidth + i * 32, words);
      }
    }
  }
}

}  // namespace

void product_norm(const ProductNormMaps& maps, const half* x, half* y, float* r, int rows,
                  int inner, float eps, int processors, cudaStream_t stream) {
  static const cudaError_t set = cudaFuncSetAttribute(
      product_norm_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kShared);
  check(set, "product_norm");
  int tiles = (rows + kRows - 1) / kRows;
  int blocks = 2 * std::min(tiles, processors / 2);
  product_norm_kernel<<<blocks, kThreads, kShared, stream>>>(maps.p, maps.weight, x, y, r, rows,
                                                             inner / 64, tiles, eps);
  check(cudaGetLastError(), "product_norm");
}

}  // namespace trm::ops::cuda
