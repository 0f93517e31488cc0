// The forward of attention over any number of tokens with heads of 64 (flash attention): 192
// queries of a head at a time, three warpgroups of 64, past which keys and values stream in blocks
// of 96. While one warpgroup takes exponentials, the tensor cores work for the others.
#include <algorithm>

#include "trm/ops/cuda/kernels.h"
#include "trm/ops/cuda/sm90.cuh"
#include "trm/ops/cuda/wgmma.cuh"

namespace trm::ops::cuda {
namespace {

constexpr int kGroups = 3, kQueries = 64 * kGroups, kKeys = 96, kThreads = 128 * (kGroups + 1);
constexpr int kQueryBytes = kQueries * 128, kKeyBytes = kKeys * 128, kStages = 4;
constexpr int kShared = 1024 + 2 * kQueryBytes + 2 * kStages * kKeyBytes + 8 * (4 + 4 * kStages);
constexpr float kScale = 0.125f * 1.4426950408889634f;  // 1 / sqrt(64), for exp2

struct Ring {  // blocks of keys, or of values
  char* blocks;
  uint64_t *full, *empty;
};

__global__ __launch_bounds__(kThreads, 1) void attention_kernel(
    const __grid_constant__ CUtensorMap queries, const __grid_constant__ CUtensorMap keys,
    const __grid_constant__ CUtensorMap out, float* stats, int tokens, int heads, int tiles) {
  extern __shared__ char raw[];
  char* q = raw + (1024 - shared_address(raw) % 1024) % 1024;
  char* ring = q + 2 * kQueryBytes;
  auto* q_full = reinterpret_cast<uint64_t*>(ring + 2 * kStages * kKeyBytes);
  uint64_t* q_empty = q_full + 2;
  Ring k{ring, q_empty + 2, q_empty + 2 + kStages};
  Ring v{ring + kStages * kKeyBytes, k.empty + kStages, k.empty + 2 * kStages};
  if (threadIdx.x == 0) {
    for (int i = 0; i < 2; ++i) {
      barrier_init(q_full + i, 1);
      barrier_init(q_empty + i, kGroups);
    }
    for (int i = 0; i < kStages; ++i) {
      for (auto& r : {k, v}) {
        barrier_init(r.full + i, 1);
        barrier_init(r.empty + i, kGroups);
      }
    }
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    fence_async_proxy();
  }
  __syncthreads();
  int parts = (tokens + kQueries - 1) / kQueries, steps = (tokens + kKeys - 1) / kKeys;

  if (threadIdx.x < 128) {
    give_registers<32>();
    if (threadIdx.x == 0) {
      int step = 0;
      for (int tile = blockIdx.x, count = 0; tile < tiles; tile += gridDim.x, ++count) {
        int first = tile % parts * kQueries, head = tile / parts % heads,
            sample = tile / parts / heads, set = count & 1;
        barrier_wait(q_empty + set, ((count / 2) & 1) ^ 1);
        barrier_expect(q_full + set, kQueryBytes);
        for (int i = 0; i < kGroups; ++i) {
          tma_load(q + set * kQueryBytes + i * 8192, &queries, q_full + set, head * 64,
                   first + i * 64, sample);
        }
        for (int j = 0; j < steps; ++j, ++step) {
          int s = step % kStages;
          for (int which = 0; which < 2; ++which) {
            Ring& r = which == 0 ? k : v;
            barrier_wait(r.empty + s, ((step / kStages) & 1) ^ 1);
            barrier_expect(r.full + s, kKeyBytes);
            tma_load(r.blocks + s * kKeyBytes, &keys, r.full + s, ((1 + which) * heads + head) * 64,
                     j * kKeys, sample);
          }
        }
      }
    }
    return;
  }

  take_registers<160>();
  int group = threadIdx.x / 128 - 1, warp = threadIdx.x % 128 / 32, lane = threadIdx.x % 32;
  bool leader = threadIdx.x % 128 == 0;
  int step = 0;
  for (int tile = blockIdx.x, count = 0; tile < tiles; tile += gridDim.x, ++count) {
    int first = tile % parts * kQueries + group * 64, set = count & 1;
    char* own = q + set * kQueryBytes + group * 8192;
    uint32_t a = shared_address(own);
    float s[kKeys / 2], o[32], most[2] = {-1e30f, -1e30f}, sum[2] = {0, 0};
#pragma unroll
    for (int i = 0; i < 32; ++i) o[i] = 0;
    barrier_wait(q_full + set, (count / 2) & 1);
    for (int j = 0; j < steps; ++j, ++step) {
      int stage = step % kStages;
      uint32_t b = shared_address(k.blocks) + stage * kKeyBytes;
      barrier_wait(k.full + stage, (step / kStages) & 1);
      wgmma_fence();
#pragma unroll
      for (int i = 0; i < 4; ++i) wgmma_n96<0, 0>(s, k_major(a) + 2 * i, k_major(b) + 2 * i, i > 0);
      wgmma_commit();
      wgmma_wait<0>();
      settle(s);
      if (leader) barrier_arrive(k.empty + stage);
      if ((j + 1) * kKeys > tokens) {
#pragma unroll
        for (int i = 0; i < kKeys / 2; ++i) {
          if (j * kKeys + i / 4 * 8 + lane % 4 * 2 + i % 2 >= tokens) s[i] = -1e30f;
        }
      }
      uint32_t p[kKeys / 4];
      float top[2] = {most[0], most[1]};
#pragma unroll
      for (int i = 0; i < kKeys / 2; ++i) top[i / 2 % 2] = fmaxf(top[i / 2 % 2], s[i]);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        top[half] = fmaxf(top[half], __shfl_xor_sync(~0u, top[half], 1));
        top[half] = fmaxf(top[half], __shfl_xor_sync(~0u, top[half], 2));
        float shrink = exp2_fast((most[half] - top[half]) * kScale);
        most[half] = top[half];
        sum[half] *= shrink;
#pragma unroll
        for (int i = 0; i < 32; i += 4) o[i + 2 * half] *= shrink, o[i + 2 * half + 1] *= shrink;
      }
#pragma unroll
      for (int i = 0; i < kKeys / 2; i += 2) {
        float base = most[i / 2 % 2] * kScale;
        float x = exp2_fast(s[i] * kScale - base), y = exp2_fast(s[i + 1] * kScale - base);
        sum[i / 2 % 2] += x + y;
        p[i / 2] = pack(x, y);
      }
      barrier_wait(v.full + stage, (step / kStages) & 1);
      b = shared_address(v.blocks) + stage * kKeyBytes;
      wgmma_fence();
#pragma unroll
      for (int i = 0; i < kKeys / 16; ++i) {
        wgmma_n64_regs<1>(o, *reinterpret_cast<uint32_t(*)[4]>(p + 4 * i), mn_major(b + i * 2048),
                          1);
      }
      wgmma_commit();
      wgmma_wait<0>();
      settle(o);
      if (leader) barrier_arrive(v.empty + stage);
    }
    int row = warp * 16 + lane / 4;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      sum[half] += __shfl_xor_sync(~0u, sum[half], 1);
      sum[half] += __shfl_xor_sync(~0u, sum[half], 2);
      if (stats && lane % 4 == 0 && first + row + 8 * half < tokens) {
        stats[static_cast<int64_t>(tile / parts) * tokens + first + row + 8 * half] =
            (most[half] * kScale + log2f(sum[half])) * 0.6931471805599453f;
      }
      float scale = 1 / sum[half];
#pragma unroll
      for (int i = 0; i < 8; ++i) {  // the queries' own rows take the result
        char* at = own + (row + 8 * half) * 128 + ((i ^ (row & 7)) << 4) + lane % 4 * 4;
        *reinterpret_cast<uint32_t*>(at) =
            pack(o[4 * i + 2 * half] * scale, o[4 * i + 2 * half + 1] * scale);
      }
    }
    fence_async_proxy();
    group_sync(1 + group);
    if (leader) {
      tma_store(&out, own, tile / parts % heads * 64, first, tile / parts / heads);
      tma_store_commit();
      tma_store_wait_read();
      barrier_arrive(q_empty + set);
    }
  }
}

}  // namespace

void long_attention(const LongAttentionMaps& maps, float* stats, int batch, int tokens, int heads,
                    int processors, cudaStream_t stream) {
  static const cudaError_t set =
      cudaFuncSetAttribute(attention_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kShared);
  check(set, "long_attention");
  int tiles = batch * heads * ((tokens + kQueries - 1) / kQueries);
  int blocks = std::min(tiles, processors);
  attention_kernel<<<blocks, kThreads, kShared, stream>>>(maps.queries, maps.keys, maps.out, stats,
                                                          tokens, heads, tiles);
  check(cudaGetLastError(), "long_attention");
}

}  // namespace trm::ops::cuda
