// y = RMS(x + p weight^T) of rows of 512 in one kernel. A cluster of two blocks takes 128 rows,
// each block half of the columns: the halves' sums of squares meet in the other block's shared
// memory, so that the sum never goes to device memory.
#include <algorithm>

#include "trm/ops/cuda/kernels.h"
#include "trm/ops/cuda/sm90.cuh"
#include "trm/ops/cuda/wgmma.cuh"

namespace trm::ops::cuda {
namespace {

constexpr int kRows = 128, kThreads = 384, kStages = 3;
constexpr int kBlockBytes = kRows * 128;       // 128 rows of 64 values
constexpr int kStageBytes = 3 * kBlockBytes;   // of p and of 256 rows of the weight
constexpr int kResultBytes = 4 * kBlockBytes;  // x's 256 columns, then y's
constexpr int kShared =
    1024 + kStages * kStageBytes + kResultBytes + 2 * kRows * 4 + 8 * (2 * kStages + 4);

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

__device__ __forceinline__ float quad_sum(float v) {
  v += __shfl_xor_sync(~0u, v, 1);
  return v + __shfl_xor_sync(~0u, v, 2);
}

__global__ __cluster_dims__(2, 1, 1) __launch_bounds__(kThreads, 1) void product_norm_kernel(
    const __grid_constant__ CUtensorMap p, const __grid_constant__ CUtensorMap weight,
    const __grid_constant__ CUtensorMap x, const __grid_constant__ CUtensorMap y, float* r,
    int rows, int steps, int tiles, float eps) {
  extern __shared__ char raw[];
  char* ring = raw + (1024 - shared_address(raw) % 1024) % 1024;
  char* result = ring + kStages * kStageBytes;
  auto* sums = reinterpret_cast<float*>(result + kResultBytes);  // two tiles' of the other block
  auto* barriers = reinterpret_cast<uint64_t*>(sums + 2 * kRows);
  uint64_t *full = barriers, *empty = full + kStages, *x_full = empty + kStages,
           *x_empty = x_full + 1, *sums_full = x_empty + 1;
  if (threadIdx.x == 0) {
    for (int i = 0; i < kStages; ++i) {
      barrier_init(full + i, 1);
      barrier_init(empty + i, 2);
    }
    barrier_init(x_full, 1);
    barrier_init(x_empty, 2);
    barrier_init(sums_full, 1);
    barrier_init(sums_full + 1, 1);
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    fence_async_proxy();
  }
  cluster_sync();
  auto rank = static_cast<int>(cluster_rank());
  int first = blockIdx.x / 2, clusters = gridDim.x / 2;

  if (threadIdx.x < 128) {
    give_registers<40>();
    if (threadIdx.x == 0) {
      int step = 0;
      for (int tile = first, count = 0; tile < tiles; tile += clusters, ++count) {
        for (int k = 0; k < steps; ++k, ++step) {
          int s = step % kStages;
          char* to = ring + s * kStageBytes;
          barrier_wait(empty + s, ((step / kStages) & 1) ^ 1);
          barrier_expect(full + s, kStageBytes);
          tma_load(to, &p, full + s, k * 64, tile * kRows);
          tma_load(to + kBlockBytes, &weight, full + s, k * 64, rank * 256);
          tma_load(to + 2 * kBlockBytes, &weight, full + s, k * 64, rank * 256 + 128);
          if (k == kStages - 1) {  // by then the tile before has been written
            barrier_wait(x_empty, (count & 1) ^ 1);
            barrier_expect(x_full, kResultBytes);
            for (int i = 0; i < 4; ++i) {
              tma_load(result + i * kBlockBytes, &x, x_full, rank * 256 + i * 64, tile * kRows);
            }
          }
        }
      }
    }
    return;
  }

  take_registers<232>();
  int group = threadIdx.x / 128 - 1, warp = threadIdx.x % 128 / 32, lane = threadIdx.x % 32;
  bool leader = threadIdx.x % 128 == 0;
  int row = group * 64 + warp * 16 + lane / 4;  // and row + 8
  float acc[2][64];
  int step = 0;
  for (int tile = first, count = 0; tile < tiles; tile += clusters, ++count) {
    uint64_t* arrived = sums_full + count % 2;
    float* theirs = sums + count % 2 * kRows;
    if (group == 0 && leader) barrier_expect(arrived, kRows * 4);
    for (int k = 0; k < steps; ++k, ++step) {
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
        if (leader) barrier_arrive(empty + (step - 1) % kStages);
      }
      if (k == 1 && count > 0 && leader) {  // the tile before has left shared memory
        tma_store_wait_read();
        barrier_arrive(x_empty);
      }
    }
    wgmma_wait<0>();
    settle(acc[0]);
    settle(acc[1]);
    if (leader) barrier_arrive(empty + (step - 1) % kStages);

    barrier_wait(x_full, count & 1);
    char* at = result + row * 128 + lane % 4 * 4;
    float square[2] = {};
#pragma unroll
    for (int i = 0; i < 32; ++i) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float(&v)[64] = acc[i / 16];
        int j = 4 * (i % 16) + 2 * half;
        uint32_t bits = *reinterpret_cast<uint32_t*>(at + i / 8 * kBlockBytes + half * 1024 +
                                                     (((i % 8) ^ (row & 7)) << 4));
        v[j] += low(bits), v[j + 1] += high(bits);
        square[half] += v[j] * v[j] + v[j + 1] * v[j + 1];
      }
    }
    float scale[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      square[half] = quad_sum(square[half]);
      if (lane % 4 == 0) {
        send(square[half], theirs + row + 8 * half, arrived, static_cast<uint32_t>(rank ^ 1));
      }
    }
    barrier_wait(arrived, (count / 2) & 1);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      int line = row + 8 * half;
      scale[half] = rsqrtf((square[half] + theirs[line]) / 512 + eps);
      if (r && rank == 0 && lane % 4 == 0 && tile * kRows + line < rows) {
        r[tile * kRows + line] = scale[half];
      }
    }
#pragma unroll
    for (int i = 0; i < 32; ++i) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float(&v)[64] = acc[i / 16];
        int j = 4 * (i % 16) + 2 * half;
        *reinterpret_cast<uint32_t*>(at + i / 8 * kBlockBytes + half * 1024 +
                                     (((i % 8) ^ (row & 7)) << 4)) =
            pack(v[j] * scale[half], v[j + 1] * scale[half]);
      }
    }
    fence_async_proxy();
    group_sync(1 + group);
    if (leader) {
      for (int i = 0; i < 4; ++i) {
        tma_store(&y, result + i * kBlockBytes + group * 64 * 128, rank * 256 + i * 64,
                  tile * kRows + group * 64);
      }
      tma_store_commit();
    }
  }
  if (leader) tma_store_wait_read();
}

}  // namespace

void product_norm(const ProductNormMaps& maps, float* r, int rows, int inner, float eps,
                  int processors, cudaStream_t stream) {
  static const cudaError_t set = cudaFuncSetAttribute(
      product_norm_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kShared);
  check(set, "product_norm");
  int tiles = (rows + kRows - 1) / kRows;
  int blocks = 2 * std::min(tiles, processors / 2);
  product_norm_kernel<<<blocks, kThreads, kShared, stream>>>(maps.p, maps.weight, maps.x, maps.y, r,
                                                             rows, inner / 64, tiles, eps);
  check(cudaGetLastError(), "product_norm");
}

}  // namespace trm::ops::cuda
