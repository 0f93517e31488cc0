// The gradient of attention over any number of tokens with heads of 64, in two kernels that share
// nothing but two numbers a query, so that no sum crosses blocks: dq (192 queries of a head, past
// which keys and values stream), then dk and dv (128 keys, past which queries stream). The scores
// and their gradient are computed in both. Rotation is undone on the way out.
#include <algorithm>

#include "trm/ops/cuda/attention_long.cuh"
#include "trm/ops/cuda/kernels.h"
#include "trm/ops/cuda/rotation.cuh"

namespace trm::ops::cuda {
namespace {

constexpr float kScale = 0.125f, kLog2e = 1.4426950408889634f;  // 1 / sqrt(64)
constexpr int kQueryGroups = 3, kQueries = 64 * kQueryGroups;   // dq
constexpr int kKeyGroups = 2, kKeys = 64 * kKeyGroups;          // dk, dv
constexpr int kStages = 6;

// A kernel's own pieces of a head, and a ring of those that stream past them.
struct Barriers {
  uint64_t *own_full, *own_empty, *full, *empty;
};

__device__ __forceinline__ Barriers set_up(char* memory, int groups) {
  auto* first = reinterpret_cast<uint64_t*>(memory);
  Barriers b{first, first + 1, first + 2, first + 2 + kStages};
  if (threadIdx.x == 0) {
    barrier_init(b.own_full, 1);
    barrier_init(b.own_empty, 4 * groups);
    ring_init(b.full, b.empty, kStages, groups);
    fence_barriers();
  }
  __syncthreads();
  return b;
}

// What the first warpgroup does: of each tile of kRows rows of a head load_own(row, head, sample),
// then for every 64 rows that stream past load(stage, barrier, row, head, sample).
template <int kRows, typename Own, typename Load>
__device__ __forceinline__ void produce(const Barriers& b, int tokens, int heads, int tiles,
                                        int own_bytes, int bytes, const Own& load_own,
                                        const Load& load) {
  if (threadIdx.x != 0) return;
  int parts = (tokens + kRows - 1) / kRows, steps = (tokens + 63) / 64;
  Place<kStages> at;
  for (int tile = blockIdx.x, count = 0; tile < tiles; tile += gridDim.x, ++count) {
    int head = tile / parts % heads, sample = tile / parts / heads;
    barrier_wait(b.own_empty, (count & 1) ^ 1);
    barrier_expect(b.own_full, own_bytes);
    load_own(tile % parts * kRows, head, sample);
    for (int j = 0; j < steps; ++j, at.next()) {
      barrier_wait(b.empty + at.stage, at.parity ^ 1);
      barrier_expect(b.full + at.stage, bytes);
      load(at.stage, b.full + at.stage, j * 64, head, sample);
    }
  }
}

constexpr int kQueryShared =
    1024 + 4 * kQueryGroups * kTile + kStages * 2 * kTile + 8 * (2 + 2 * kStages);

// Also writes, for each query, log2 of its sum of exponentials and the dot product of its result
// and that one's gradient: rows (batch, heads, 2, padded), past the tokens such that nothing comes
// of it.
__global__ __launch_bounds__(128 * (kQueryGroups + 1), 1) void query_kernel(
    const __grid_constant__ LongAttentionGradientMaps maps, Rotation rotation, const float* stats,
    float* rows, int tokens, int heads, int tiles, int padded) {
  extern __shared__ char raw[];
  char* own = align_shared(raw);  // queries, the result's gradient, the result; then dq
  char* outputs = own + 3 * kQueryGroups * kTile;
  char* ring = outputs + kQueryGroups * kTile;  // keys and values
  Barriers barriers = set_up(ring + kStages * 2 * kTile, kQueryGroups);
  int parts = (tokens + kQueries - 1) / kQueries, steps = (tokens + 63) / 64;

  if (threadIdx.x < 128) {
    give_registers<32>();
    auto load_own = [&](int first, int head, int sample) {
      for (int i = 0; i < kQueryGroups; ++i) {
        char* to = own + 3 * i * kTile;
        int row = first + i * 64;
        tma_load(to, &maps.qkv, barriers.own_full, head * 64, row, sample);
        tma_load(to + kTile, &maps.dout, barriers.own_full, head * 64, row, sample);
        tma_load(to + 2 * kTile, &maps.out, barriers.own_full, head * 64, row, sample);
      }
    };
    auto load = [&](int stage, uint64_t* full, int row, int head, int sample) {
      char* to = ring + stage * 2 * kTile;
      tma_load(to, &maps.qkv, full, (heads + head) * 64, row, sample);
      tma_load(to + kTile, &maps.qkv, full, (2 * heads + head) * 64, row, sample);
    };
    produce<kQueries>(barriers, tokens, heads, tiles, 3 * kQueryGroups * kTile, 2 * kTile, load_own,
                      load);
    return;
  }

  take_registers<160>();
  int group = threadIdx.x / 128 - 1, lane = threadIdx.x % 32;
  int row = threadIdx.x % 128 / 32 * 16 + lane / 4;
  bool leader = threadIdx.x % 128 == 0;
  uint32_t ring_base = shared_address(ring);
  Place<kStages> at;
  for (int tile = blockIdx.x, count = 0; tile < tiles; tile += gridDim.x, ++count) {
    int first = tile % parts * kQueries + group * 64;
    uint32_t q[4][4], d_o[4][4];
    float log_sum[2], delta[2] = {0, 0};
    barrier_wait(barriers.own_full, count & 1);
    {
      const char* mine = own + 3 * group * kTile;
      uint32_t o[4][4];
      load_rows(q, mine);
      load_rows(d_o, mine + kTile);
      load_rows(o, mine + 2 * kTile);
      __syncwarp();
      if (lane == 0) barrier_arrive(barriers.own_empty);
#pragma unroll
      for (int k = 0; k < 4; ++k) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          delta[i % 2] += low(o[k][i]) * low(d_o[k][i]) + high(o[k][i]) * high(d_o[k][i]);
        }
      }
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      delta[half] = quad_sum(delta[half]);
      int query = first + row + 8 * half;
      log_sum[half] = 1e30f;
      if (query < tokens) {
        log_sum[half] = stats[static_cast<int64_t>(tile / parts) * tokens + query] * kLog2e;
      }
      if (lane % 4 == 0) {
        float* to = rows + static_cast<int64_t>(tile / parts) * 2 * padded + query;
        to[0] = log_sum[half];
        to[padded] = delta[half];
      }
    }

    float s[32], dp[32], dq[32];
    uint32_t ds[16];
#pragma unroll
    for (int i = 0; i < 32; ++i) dq[i] = 0;
    barrier_wait(barriers.full + at.stage, at.parity);
    wgmma_fence();
    score(s, q, ring_base + at.stage * 2 * kTile);
    wgmma_commit();
    wgmma_wait<0>();
    settle(s);
    // A block begins with its scores complete. The exponentials are taken while dp is computed.
    auto block = [&](int j, auto last) {
      int stage = at.stage;
      uint32_t now = ring_base + stage * 2 * kTile;
      wgmma_fence();
      score(dp, d_o, now + kTile);
      wgmma_commit();
      if constexpr (last.value) {
        if ((j + 1) * 64 > tokens) mask(s, j * 64, tokens);
      }
#pragma unroll
      for (int i = 0; i < 32; ++i) {
        s[i] = exp2_fast(fmaf(s[i], kScale * kLog2e, -log_sum[i / 2 % 2]));
      }
      at.next();
      if constexpr (!last.value) barrier_wait(barriers.full + at.stage, at.parity);
      wgmma_wait<0>();
      settle(dp);
#pragma unroll
      for (int i = 0; i < 32; i += 2) {
        float d = delta[i / 2 % 2];
        ds[i / 2] = pack(s[i] * (dp[i] - d), s[i + 1] * (dp[i + 1] - d));
      }
      wgmma_fence();
      add_product(dq, ds, now);
      if constexpr (!last.value) score(s, q, ring_base + at.stage * 2 * kTile);
      wgmma_commit();
      wgmma_wait<0>();
      settle(s);
      settle(dq);
      settle(ds);
      if (leader) barrier_arrive(barriers.empty + stage);
    };
    for (int j = 0; j + 1 < steps; ++j) block(j, std::false_type());
    block(steps - 1, std::true_type());
    if (leader) tma_store_wait_read();
    if (rotation.cos) rotate_back(dq, first + row, lane, tokens, rotation);
    group_sync(1 + group);
    char* out = outputs + group * kTile;
    store_rows(out, dq, kScale, kScale);
    fence_async_proxy();
    group_sync(1 + group);
    if (leader) {
      tma_store(&maps.dqkv, out, tile / parts % heads * 64, first, tile / parts / heads);
      tma_store_commit();
    }
  }
  if (leader) tma_store_wait_read();
}

constexpr int kRowBytes = 64 * 8;
constexpr int kKeyShared =
    1024 + 4 * kKeyGroups * kTile + kStages * (2 * kTile + kRowBytes) + 8 * (2 + 2 * kStages);

// Scores are computed transposed, so that they are left operands of dv and dk as they stand.
__global__ __launch_bounds__(128 * (kKeyGroups + 1), 1) void key_kernel(
    const __grid_constant__ LongAttentionGradientMaps maps, Rotation rotation, const float* rows,
    int tokens, int heads, int tiles, int padded) {
  extern __shared__ char raw[];
  char* own = align_shared(raw);  // keys and values; then their gradients
  char* outputs = own + 2 * kKeyGroups * kTile;
  char* ring = outputs + 2 * kKeyGroups * kTile;  // queries and the result's gradient
  char* numbers = ring + kStages * 2 * kTile;     // of each query
  Barriers barriers = set_up(numbers + kStages * kRowBytes, kKeyGroups);
  int parts = (tokens + kKeys - 1) / kKeys, steps = (tokens + 63) / 64;

  if (threadIdx.x < 128) {
    give_registers<40>();
    auto load_own = [&](int first, int head, int sample) {
      for (int i = 0; i < kKeyGroups; ++i) {
        char* to = own + 2 * i * kTile;
        int row = first + i * 64;
        tma_load(to, &maps.qkv, barriers.own_full, (heads + head) * 64, row, sample);
        tma_load(to + kTile, &maps.qkv, barriers.own_full, (2 * heads + head) * 64, row, sample);
      }
    };
    auto load = [&](int stage, uint64_t* full, int row, int head, int sample) {
      char* to = ring + stage * 2 * kTile;
      tma_load(to, &maps.qkv, full, head * 64, row, sample);
      tma_load(to + kTile, &maps.dout, full, head * 64, row, sample);
      for (int i = 0; i < 2; ++i) {
        const float* from =
            rows + ((static_cast<int64_t>(sample) * heads + head) * 2 + i) * padded + row;
        asm volatile(
            "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, "
            "[%3];" ::"r"(shared_address(numbers + stage * kRowBytes + i * 256)),
            "l"(from), "r"(256), "r"(shared_address(full))
            : "memory");
      }
    };
    produce<kKeys>(barriers, tokens, heads, tiles, 2 * kKeyGroups * kTile, 2 * kTile + kRowBytes,
                   load_own, load);
    return;
  }

  take_registers<232>();
  int group = threadIdx.x / 128 - 1, lane = threadIdx.x % 32;
  int row = threadIdx.x % 128 / 32 * 16 + lane / 4;
  bool leader = threadIdx.x % 128 == 0;
  uint32_t ring_base = shared_address(ring);
  Place<kStages> at;
  for (int tile = blockIdx.x, count = 0; tile < tiles; tile += gridDim.x, ++count) {
    int first = tile % parts * kKeys + group * 64;
    uint32_t k[4][4], v[4][4];
    barrier_wait(barriers.own_full, count & 1);
    load_rows(k, own + 2 * group * kTile);
    load_rows(v, own + (2 * group + 1) * kTile);
    __syncwarp();
    if (lane == 0) barrier_arrive(barriers.own_empty);
    if (first >= tokens) {
      for (int j = 0; j < steps; ++j, at.next()) {
        if (!leader) continue;
        barrier_wait(barriers.full + at.stage, at.parity);
        barrier_arrive(barriers.empty + at.stage);
      }
      group_sync(1 + group);
      continue;
    }

    float s[32], dp[32], dk[32], dv[32];
    uint32_t p[16], ds[16];
#pragma unroll
    for (int i = 0; i < 32; ++i) dk[i] = dv[i] = 0;
#pragma unroll
    for (int i = 0; i < 16; ++i) ds[i] = 0;
    barrier_wait(barriers.full + at.stage, at.parity);
    wgmma_fence();
    score(s, k, ring_base + at.stage * 2 * kTile);
    wgmma_commit();
    wgmma_wait<0>();
    settle(s);
    // A block begins with its scores complete, and dk lacks the block before (none: ds is 0).
    uint32_t before = ring_base + at.stage * 2 * kTile;
    int release = -1;
    auto block = [&](auto last) {
      int stage = at.stage;
      uint32_t now = ring_base + stage * 2 * kTile;
      const char* mine = numbers + stage * kRowBytes + lane % 4 * 8;
      wgmma_fence();
      add_product(dk, ds, before);
      score(dp, v, now + kTile);
      wgmma_commit();
#pragma unroll
      for (int i = 0; i < 32; i += 4) {
        float2 log_sum = *reinterpret_cast<const float2*>(mine + i * 8);
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          float a = exp2_fast(fmaf(s[i + 2 * half], kScale * kLog2e, -log_sum.x));
          float b = exp2_fast(fmaf(s[i + 2 * half + 1], kScale * kLog2e, -log_sum.y));
          p[i / 2 + half] = pack(a, b);
        }
      }
      at.next();
      if constexpr (!last.value) barrier_wait(barriers.full + at.stage, at.parity);
      wgmma_fence();
      add_product(dv, p, now + kTile);
      if constexpr (!last.value) score(s, k, ring_base + at.stage * 2 * kTile);
      wgmma_commit();
      wgmma_wait<1>();
      settle(dp);
      settle(dk);
      settle(ds);
      if (leader && release >= 0) barrier_arrive(barriers.empty + release);
#pragma unroll
      for (int i = 0; i < 32; i += 4) {
        float2 delta = *reinterpret_cast<const float2*>(mine + 256 + i * 8);
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          int at_pair = i + 2 * half;
          float a = low(p[at_pair / 2]) * (dp[at_pair] - delta.x);
          float b = high(p[at_pair / 2]) * (dp[at_pair + 1] - delta.y);
          ds[at_pair / 2] = pack(a, b);
        }
      }
      wgmma_wait<0>();
      settle(dv);
      settle(s);
      settle(p);
      before = now;
      release = stage;
    };
    for (int j = 0; j + 1 < steps; ++j) block(std::false_type());
    block(std::true_type());
    wgmma_fence();
    add_product(dk, ds, before);
    wgmma_commit();
    wgmma_wait<0>();
    settle(dk);
    settle(ds);
    if (leader) {
      barrier_arrive(barriers.empty + release);
      tma_store_wait_read();
    }
    if (rotation.cos) rotate_back(dk, first + row, lane, tokens, rotation);
    group_sync(1 + group);
    char* out = outputs + 2 * group * kTile;
    store_rows(out, dk, kScale, kScale);
    store_rows(out + kTile, dv, 1, 1);
    fence_async_proxy();
    group_sync(1 + group);
    if (leader) {
      int head = tile / parts % heads, sample = tile / parts / heads;
      tma_store(&maps.dqkv, out, (heads + head) * 64, first, sample);
      tma_store(&maps.dqkv, out + kTile, (2 * heads + head) * 64, first, sample);
      tma_store_commit();
    }
  }
  if (leader) tma_store_wait_read();
}

int padded(int tokens) { return (tokens + kQueries - 1) / kQueries * kQueries; }

}  // namespace

size_t long_attention_gradient_scratch(int batch, int tokens, int heads) {
  return static_cast<size_t>(batch) * heads * padded(tokens) * 2 * sizeof(float);
}

void long_attention_gradient(const LongAttentionGradientMaps& maps, const float* cos,
                             const float* sin, const float* stats, void* scratch, int batch,
                             int tokens, int heads, int processors, cudaStream_t stream) {
  static const cudaError_t set[] = {
      cudaFuncSetAttribute(query_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kQueryShared),
      cudaFuncSetAttribute(key_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kKeyShared)};
  for (auto error : set) check(error, "long_attention_gradient");
  auto* rows = static_cast<float*>(scratch);
  int tiles = batch * heads * ((tokens + kQueries - 1) / kQueries);
  query_kernel<<<std::min(tiles, processors), 128 * (kQueryGroups + 1), kQueryShared, stream>>>(
      maps, {cos, sin}, stats, rows, tokens, heads, tiles, padded(tokens));
  check(cudaGetLastError(), "long_attention_gradient");
  tiles = batch * heads * ((tokens + kKeys - 1) / kKeys);
  key_kernel<<<std::min(tiles, processors), 128 * (kKeyGroups + 1), kKeyShared, stream>>>(
      maps, {cos, sin}, rows, tokens, heads, tiles, padded(tokens));
  check(cudaGetLastError(), "long_attention_gradient");
}

}  // namespace trm::ops::cuda
