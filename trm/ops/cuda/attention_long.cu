// The forward of attention over any number of tokens with heads of 64 (flash attention): 192
// queries of a head at a time, three warpgroups of 64, past which keys and values stream in blocks
// of 96, the last of 64 if that is enough. While one warpgroup takes exponentials, the tensor
// cores work for the others.
#include <algorithm>
#include <type_traits>

#include "trm/ops/cuda/attention_long.cuh"
#include "trm/ops/cuda/kernels.h"

namespace trm::ops::cuda {
namespace {

constexpr int kGroups = 3, kQueries = 64 * kGroups, kThreads = 128 * (kGroups + 1);
constexpr int kKeys = 96, kTail = 64, kStages = 4;
constexpr int kQueryBytes = kQueries * 128, kKeyBytes = kKeys * 128;
constexpr int kShared = 1024 + 2 * kQueryBytes + 2 * kStages * kKeyBytes + 8 * (4 + 4 * kStages);
constexpr float kScale = 0.125f * 1.4426950408889634f;  // 1 / sqrt(64), for exp2
// The largest sum of exponentials that a block may add before the base of a row is raised.
constexpr float kMost = 1.0e12f;

struct Ring {  // blocks of keys, or of values
  char* blocks;
  uint64_t *full, *empty;
};

// What a row's exponentials are taken against: any value near its largest score does, so it moves
// only where a sum would grow too large. A whole number, in units of log2.
struct Rows {
  float base[2], sum[2];
};

template <int n>
__device__ __forceinline__ void raise(const float (&s)[n], Rows& rows, float (&o)[32]) {
  float top[2] = {-1e30f, -1e30f};
#pragma unroll
  for (int i = 0; i < n; ++i) top[i / 2 % 2] = fmaxf(top[i / 2 % 2], s[i]);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    top[half] = fmaxf(top[half], __shfl_xor_sync(~0u, top[half], 1));
    top[half] = fmaxf(top[half], __shfl_xor_sync(~0u, top[half], 2));
    float next = fmaxf(rows.base[half], ceilf(top[half] * kScale));
    float shrink = exp2_fast(rows.base[half] - next);
    rows.base[half] = next;
    rows.sum[half] *= shrink;
#pragma unroll
    for (int i = 0; i < 32; i += 4) o[i + 2 * half] *= shrink, o[i + 2 * half + 1] *= shrink;
  }
}

// p = 2^(s - base), and what a block adds to the sums.
template <int n>
__device__ __forceinline__ void exponentials(const float (&s)[n], const Rows& rows,
                                             uint32_t (&p)[n / 2], float (&part)[2]) {
  part[0] = part[1] = 0;
#pragma unroll
  for (int i = 0; i < n; i += 2) {
    float base = rows.base[i / 2 % 2];
    float x = exp2_fast(fmaf(s[i], kScale, -base)), y = exp2_fast(fmaf(s[i + 1], kScale, -base));
    part[i / 2 % 2] += x + y;
    p[i / 2] = pack(x, y);
  }
}

__global__ __launch_bounds__(kThreads, 1) void attention_kernel(
    const __grid_constant__ CUtensorMap queries, const __grid_constant__ CUtensorMap keys,
    const __grid_constant__ CUtensorMap out, float* stats, int tokens, int heads, int tiles) {
  extern __shared__ char raw[];
  char* q = align_shared(raw);
  char* ring = q + 2 * kQueryBytes;
  auto* q_full = reinterpret_cast<uint64_t*>(ring + 2 * kStages * kKeyBytes);
  uint64_t* q_empty = q_full + 2;
  Ring k{ring, q_empty + 2, q_empty + 2 + kStages};
  Ring v{ring + kStages * kKeyBytes, k.empty + kStages, k.empty + 2 * kStages};
  if (threadIdx.x == 0) {
    ring_init(q_full, q_empty, 2, kGroups);
    for (auto& r : {k, v}) ring_init(r.full, r.empty, kStages, kGroups);
    fence_barriers();
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
  uint32_t k_blocks = shared_address(k.blocks), v_blocks = shared_address(v.blocks);
  Place<kStages> at_key, at_value;
  for (int tile = blockIdx.x, count = 0; tile < tiles; tile += gridDim.x, ++count) {
    int first = tile % parts * kQueries + group * 64, set = count & 1;
    char* own = q + set * kQueryBytes + group * 8192;
    uint32_t mine[4][4];
    float o[32];
    Rows rows{{-1e30f, -1e30f}, {0, 0}};
#pragma unroll
    for (int i = 0; i < 32; ++i) o[i] = 0;
    barrier_wait(q_full + set, (count / 2) & 1);
    load_rows(mine, own);

    auto start_scores = [&](auto& s) {
      barrier_wait(k.full + at_key.stage, at_key.parity);
      wgmma_fence();
      score(s, mine, k_blocks + at_key.stage * kKeyBytes);
      wgmma_commit();
    };
    auto end_scores = [&](auto& s, int j) {
      settle(s);
      if (leader) barrier_arrive(k.empty + at_key.stage);
      at_key.next();
      if ((j + 1) * kKeys > tokens) mask(s, j * kKeys, tokens);
    };
    auto start_mix = [&](auto& p) {
      barrier_wait(v.full + at_value.stage, at_value.parity);
      wgmma_fence();
      add_product(o, p, v_blocks + at_value.stage * kKeyBytes);
      wgmma_commit();
    };
    auto end_mix = [&](auto& p) {
      wgmma_wait<0>();
      settle(o);
      settle(p);
      if (leader) barrier_arrive(v.empty + at_value.stage);
      at_value.next();
    };
    auto check = [&](auto& s, auto& p, float(&part)[2]) {
      if (__any_sync(~0u, fmaxf(part[0], part[1]) > kMost)) {
        raise(s, rows, o);
        exponentials(s, rows, p, part);
      }
      rows.sum[0] += part[0];
      rows.sum[1] += part[1];
    };
    int blocks = tokens / kKeys, rest = tokens - blocks * kKeys;
    bool tail = blocks > 0 && rest > 0 && rest <= kTail;
    int whole = tail ? blocks : steps;
    auto block = [&](auto width, int j) {
      float s[width.value / 2], part[2];
      uint32_t p[width.value / 4];
      start_scores(s);
      wgmma_wait<0>();
      end_scores(s, j);
      if (j == 0) raise(s, rows, o);
      exponentials(s, rows, p, part);
      check(s, p, part);
      start_mix(p);
      end_mix(p);
    };
    for (int j = 0; j < whole; ++j) block(std::integral_constant<int, kKeys>(), j);
    if (tail) block(std::integral_constant<int, kTail>(), blocks);

    int row = warp * 16 + lane / 4;
    float scale[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float sum = quad_sum(rows.sum[half]);
      if (stats && lane % 4 == 0 && first + row + 8 * half < tokens) {
        stats[static_cast<int64_t>(tile / parts) * tokens + first + row + 8 * half] =
            (rows.base[half] + log2f(sum)) * 0.6931471805599453f;
      }
      scale[half] = 1 / sum;
    }
    store_rows(own, o, scale[0], scale[1]);  // over the queries
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
