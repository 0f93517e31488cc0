// Attention over at most kTokensMax tokens with heads of 64, forward and backward: a block takes
// one head of one sample, whose scores fit in registers, so that nothing but q, k, v and the result
// (and their gradients) crosses device memory. Rotation happens in shared memory on the way.
#include "trm/ops/cuda/kernels.h"
#include "trm/ops/cuda/rotation.cuh"
#include "trm/ops/cuda/sm90.cuh"
#include "trm/ops/cuda/wgmma.cuh"

namespace trm::ops::cuda {
namespace {

constexpr int kTile = kTokensPadded * 128;  // bytes: a head of 64 of all tokens
constexpr int kScores = kTokensMax / 2, kSteps = kTokensPadded / 16;
constexpr float kScale = 0.125f;  // 1 / sqrt(64)
constexpr float kLog2e = 1.4426950408889634f;

// Scores (64 x kTokensMax) of 64 rows of `a` with all rows of `b`, both K-major.
__device__ __forceinline__ void score(float (&s)[kScores], uint32_t a, uint32_t b) {
#pragma unroll
  for (int k = 0; k < 4; ++k) wgmma_n104<0, 0>(s, k_major(a) + 2 * k, k_major(b) + 2 * k, k > 0);
}

// 16 columns of scores as the left operand of the next product.
__device__ __forceinline__ void operand(uint32_t (&a)[4], const uint32_t (&packed)[kScores / 2],
                                        int k) {
#pragma unroll
  for (int i = 0; i < 4; ++i) a[i] = 4 * k + i < kScores / 2 ? packed[4 * k + i] : 0;
}

// 64 x 64 results into rows of a tile; the last warp of the second 64 has none there.
__device__ __forceinline__ void store_rows(char* tile, int row, int lane, const float (&o)[32],
                                           float first, float second) {
  if (row >= kTokensPadded) return;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    uint32_t at = row * 128 + ((i ^ (row & 7)) << 4) + lane % 4 * 4;
    *reinterpret_cast<uint32_t*>(tile + at) = pack(o[4 * i] * first, o[4 * i + 1] * first);
    *reinterpret_cast<uint32_t*>(tile + at + 1024) =
        pack(o[4 * i + 2] * second, o[4 * i + 3] * second);
  }
}

constexpr int kForwardShared = 1024 + 3 * kTile + 16;

__global__ __launch_bounds__(128, 4) void forward_kernel(const __grid_constant__ CUtensorMap qkv,
                                                         const __grid_constant__ CUtensorMap out,
                                                         float* stats, int tokens, int heads) {
  extern __shared__ char raw[];
  char* q = align_shared(raw);  // then k and v
  auto* loaded = reinterpret_cast<uint64_t*>(q + 3 * kTile);
  int sample = blockIdx.x / heads, head = blockIdx.x % heads;
  int thread = threadIdx.x, warp = thread / 32, lane = thread % 32;
  if (thread == 0) {
    barrier_init(loaded, 1);
    fence_barriers();
    barrier_expect(loaded, 3 * kTile);
    for (int i = 0; i < 3; ++i) {
      tma_load(q + i * kTile, &qkv, loaded, (i * heads + head) * 64, 0, sample);
    }
  }
  __syncthreads();
  barrier_wait(loaded, 0);
  uint32_t base = shared_address(q);
#pragma unroll 1
  for (int m = 0; m < 2; ++m) {
    float s[kScores];
    wgmma_fence();
    score(s, base + m * 64 * 128, base + kTile);
    wgmma_commit();
    wgmma_wait<0>();
    settle(s);
    float most[2] = {-1e30f, -1e30f}, sum[2] = {0, 0};
#pragma unroll
    for (int i = 0; i < kScores; ++i) {
      int column = i / 4 * 8 + lane % 4 * 2 + i % 2;
      if (column >= tokens) s[i] = -1e30f;
      most[i / 2 % 2] = fmaxf(most[i / 2 % 2], s[i]);
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      most[half] = fmaxf(most[half], __shfl_xor_sync(~0u, most[half], 1));
      most[half] = fmaxf(most[half], __shfl_xor_sync(~0u, most[half], 2));
      most[half] *= kScale * kLog2e;
    }
    uint32_t packed[kScores / 2];
#pragma unroll
    for (int i = 0; i < kScores; i += 2) {
      float a = exp2_fast(s[i] * (kScale * kLog2e) - most[i / 2 % 2]);
      float b = exp2_fast(s[i + 1] * (kScale * kLog2e) - most[i / 2 % 2]);
      sum[i / 2 % 2] += a + b;
      packed[i / 2] = pack(a, b);
    }
    float o[32];
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < kSteps; ++k) {
      uint32_t a[4];
      operand(a, packed, k);
      wgmma_n64_regs<1>(o, a, mn_major(base + 2 * kTile + k * 2048), k > 0);
    }
    wgmma_commit();
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      sum[half] = quad_sum(sum[half]);
    }
    int row = m * 64 + warp * 16 + lane / 4;
    if (stats && lane % 4 == 0) {  // log2 of the sum of exp2 of the scaled scores
      float* at = stats + static_cast<int64_t>(blockIdx.x) * tokens;
      if (row < tokens) at[row] = most[0] + log2f(sum[0]);
      if (row + 8 < tokens) at[row + 8] = most[1] + log2f(sum[1]);
    }
    wgmma_wait<0>();
    settle(o);
    // These rows of q were needed for these scores only.
    store_rows(q, row, lane, o, 1 / sum[0], 1 / sum[1]);
  }
  fence_async_proxy();
  __syncthreads();
  if (thread == 0) {
    tma_store(&out, q, head * 64, 0, sample);
    tma_store_commit();
    tma_store_wait_read();
  }
}

constexpr int kScoreTile = 128 * 128;  // 128 keys x 64 queries
constexpr int kBackwardShared = 1024 + 5 * kTile + 2 * kScoreTile + 8 * 128 + 16;

// Two warpgroups, each 64 keys (then 64 queries): scores are computed transposed, so that they are
// left operands of dv and dk as they stand; for dq they pass through shared memory.
__global__ __launch_bounds__(256, 2) void backward_kernel(const __grid_constant__ CUtensorMap qkv,
                                                          const __grid_constant__ CUtensorMap out,
                                                          const __grid_constant__ CUtensorMap dout,
                                                          const __grid_constant__ CUtensorMap dqkv,
                                                          Rotation rotation, const float* stats,
                                                          int tokens, int heads) {
  extern __shared__ char raw[];
  char* tiles = align_shared(raw);
  char *q = tiles, *k = q + kTile, *v = k + kTile, *d_o = v + kTile, *o = d_o + kTile;
  char* scores = o + kTile;
  auto* log_sum = reinterpret_cast<float*>(scores + 2 * kScoreTile);
  float* delta = log_sum + 128;
  auto* loaded = reinterpret_cast<uint64_t*>(delta + 128);
  int sample = blockIdx.x / heads, head = blockIdx.x % heads;
  int thread = threadIdx.x, group = thread / 128, warp = thread % 128 / 32, lane = thread % 32;
  if (thread == 0) {
    barrier_init(loaded, 1);
    fence_barriers();
    barrier_expect(loaded, 5 * kTile);
    for (int i = 0; i < 3; ++i) {
      tma_load(q + i * kTile, &qkv, loaded, (i * heads + head) * 64, 0, sample);
    }
    tma_load(d_o, &dout, loaded, head * 64, 0, sample);
    tma_load(o, &out, loaded, head * 64, 0, sample);
  }
  if (thread < 128) {
    log_sum[thread] =
        thread < tokens ? stats[static_cast<int64_t>(blockIdx.x) * tokens + thread] : 1e30f;
  }
  __syncthreads();
  barrier_wait(loaded, 0);
  int row = thread % 128;
  if (group == 1) {
    float sum = 0;
    if (row < tokens) {
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        uint4 a = *reinterpret_cast<uint4*>(o + row * 128 + ((j ^ (row & 7)) << 4));
        uint4 b = *reinterpret_cast<uint4*>(d_o + row * 128 + ((j ^ (row & 7)) << 4));
        auto *aw = &a.x, *bw = &b.x;
#pragma unroll
        for (int i = 0; i < 4; ++i) sum += low(aw[i]) * low(bw[i]) + high(aw[i]) * high(bw[i]);
      }
    }
    delta[row] = sum;
  }
  fence_async_proxy();
  __syncthreads();

  uint32_t base = shared_address(q);
  uint32_t own = base + group * 64 * 128;   // this group's 64 rows of a tile
  row = group * 64 + warp * 16 + lane / 4;  // a key
  uint32_t p[kScores / 2], ds[kScores / 2];
  {
    float s[kScores];
    wgmma_fence();
    score(s, own + kTile, base);
    wgmma_commit();
    wgmma_wait<0>();
    settle(s);
#pragma unroll
    for (int i = 0; i < kScores; i += 2) {
      float2 l = *reinterpret_cast<float2*>(log_sum + i / 4 * 8 + lane % 4 * 2);
      bool valid = row + i / 2 % 2 * 8 < tokens;
      float a = valid ? exp2_fast(s[i] * (kScale * kLog2e) - l.x) : 0;
      float b = valid ? exp2_fast(s[i + 1] * (kScale * kLog2e) - l.y) : 0;
      p[i / 2] = pack(a, b);
    }
  }
  {
    float dv[32];
    wgmma_fence();
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      uint32_t a[4];
      operand(a, p, i);
      wgmma_n64_regs<1>(dv, a, mn_major(base + 3 * kTile + i * 2048), i > 0);
    }
    wgmma_commit();
    wgmma_wait<0>();
    settle(dv);
    store_rows(o, row, lane, dv, 1, 1);  // nobody reads out any more
  }
  {
    float dp[kScores];
    wgmma_fence();
    score(dp, own + 2 * kTile, base + 3 * kTile);
    wgmma_commit();
    wgmma_wait<0>();
    settle(dp);
#pragma unroll
    for (int i = 0; i < kScores; i += 2) {
      int column = i / 4 * 8 + lane % 4 * 2, key = row + i / 2 % 2 * 8;
      float2 d = *reinterpret_cast<float2*>(delta + column);
      float a = low(p[i / 2]) * (dp[i] - d.x), b = high(p[i / 2]) * (dp[i + 1] - d.y);
      ds[i / 2] = key < tokens ? pack(a, b) : 0;
      *reinterpret_cast<uint32_t*>(scores + column / 64 * kScoreTile + key * 128 +
                                   ((column % 64 / 8 ^ (key & 7)) << 4) + lane % 4 * 4) = ds[i / 2];
    }
  }
  float dk[32];
  wgmma_fence();
#pragma unroll
  for (int i = 0; i < kSteps; ++i) {
    uint32_t a[4];
    operand(a, ds, i);
    wgmma_n64_regs<1>(dk, a, mn_major(base + i * 2048), i > 0);
  }
  wgmma_commit();
  wgmma_wait<0>();
  settle(dk);
  fence_async_proxy();  // the scores
  __syncthreads();      // from here nobody reads q, v and dout
  float dq[32];
  wgmma_fence();
#pragma unroll
  for (int i = 0; i < kSteps; ++i) {
    wgmma_n64<1, 1>(dq, mn_major(shared_address(scores) + group * kScoreTile + i * 2048),
                    mn_major(base + kTile + i * 2048), i > 0);
  }
  wgmma_commit();
  if (rotation.cos) rotate_back(dk, row, lane, tokens, rotation);
  store_rows(v, row, lane, dk, kScale, kScale);
  wgmma_wait<0>();
  settle(dq);
  if (rotation.cos) rotate_back(dq, row, lane, tokens, rotation);
  store_rows(q, row, lane, dq, kScale, kScale);
  fence_async_proxy();
  group_sync(1 + group);
  if (thread % 128 == 0) {
    int y = group * 64;
    tma_store(&dqkv, q + group * 8192, head * 64, y, sample);
    tma_store(&dqkv, v + group * 8192, (heads + head) * 64, y, sample);
    tma_store(&dqkv, o + group * 8192, (2 * heads + head) * 64, y, sample);
    tma_store_commit();
    tma_store_wait_read();
  }
}

}  // namespace

void short_attention(const ShortAttentionMaps& m, float* stats, int batch, int tokens, int heads,
                     cudaStream_t stream) {
  static const cudaError_t set = cudaFuncSetAttribute(
      forward_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kForwardShared);
  check(set, "short_attention");
  forward_kernel<<<static_cast<unsigned>(batch * heads), 128, kForwardShared, stream>>>(
      m.qkv, m.out, stats, tokens, heads);
  check(cudaGetLastError(), "short_attention");
}

void short_attention_backward(const ShortAttentionMaps& m, const float* cos, const float* sin,
                              const float* stats, int batch, int tokens, int heads,
                              cudaStream_t stream) {
  static const cudaError_t set = cudaFuncSetAttribute(
      backward_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBackwardShared);
  check(set, "short_attention_backward");
  backward_kernel<<<static_cast<unsigned>(batch * heads), 256, kBackwardShared, stream>>>(
      m.qkv, m.out, m.dout, m.dqkv, {cos, sin}, stats, tokens, heads);
  check(cudaGetLastError(), "short_attention_backward");
}

}  // namespace trm::ops::cuda
