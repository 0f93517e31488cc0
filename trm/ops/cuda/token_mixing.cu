// Token mixing without its intermediate in memory. The tokens of a channel (a column of x[b],
// tokens x width) are a feed-forward of their own, so channels are the M of every product: a
// warpgroup takes 64 channels of a sample and streams the weights past them in chunks of 64 inner
// units, the gate's result staying in registers as the next product's operand (as in flash
// attention).
#include <algorithm>

#include "trm/ops/cuda/kernels.h"
#include "trm/ops/cuda/sm90.cuh"
#include "trm/ops/cuda/wgmma.cuh"

namespace trm::ops::cuda {
namespace {

constexpr int kThreads = 384;
constexpr int kTile = kTokensPadded * 128;  // bytes: 64 channels of all tokens, or 64 of `down`
constexpr int kQuarter = 64 * 128;          // 64 inner units x 64 tokens of gate or up
constexpr int kChunk = 4 * kQuarter + kTile;
constexpr int kDown = 4 * kQuarter;  // of a chunk: gate|up of tokens 0-63, of 64-127, then down
constexpr int kSteps = kTokensPadded / 16, kAcc = kTokensMax / 2;
constexpr int kShared = 1024 + 8 * kTile + 2 * kChunk + 64;

__device__ __forceinline__ char* align_shared(char* raw) {
  return raw + (1024 - shared_address(raw) % 1024) % 1024;
}

__device__ __forceinline__ void load_chunk(char* to, const TokenMaps& maps, uint64_t* barrier,
                                           int chunk, int inner) {
  barrier_expect(barrier, kChunk);
  for (int block = 0; block < 2; ++block) {
    char* half = to + block * 2 * kQuarter;
    tma_load(half, &maps.gate_up, barrier, block * 64, chunk * 64);
    tma_load(half + kQuarter, &maps.gate_up, barrier, block * 64, inner + chunk * 64);
  }
  tma_load(to + kDown, &maps.down, barrier, chunk * 64, 0);
}

// [g | u] (64 channels x 128) = x^T (channels x tokens) times the chunk's gate and up.
__device__ __forceinline__ void gate_up_product(float (&gu)[64], uint32_t x, uint32_t chunk) {
#pragma unroll
  for (int k = 0; k < kSteps; ++k) {
    uint64_t b = k_major(chunk + k / 4 * 2 * kQuarter) + 2 * (k % 4);
    wgmma_n128<1, 0>(gu, mn_major(x + k * 2048), b, k > 0);
  }
}

struct Buffers {  // both sides of the pipeline: two sets of four tiles, two chunks of weights
  char *tiles, *ring;
  uint64_t *tiles_full, *tiles_empty, *full, *empty;
};

__device__ __forceinline__ Buffers set_up(char* raw) {
  char* shared = align_shared(raw);
  char* ring = shared + 8 * kTile;
  auto* b = reinterpret_cast<uint64_t*>(ring + 2 * kChunk);
  if (threadIdx.x == 0) {
    for (int i = 0; i < 8; ++i) barrier_init(b + i, i % 4 < 2 ? 1 : 2);
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    fence_async_proxy();
  }
  __syncthreads();
  return {shared, ring, b, b + 2, b + 4, b + 6};
}

// Forward: a tile is 256 channels of a sample, two 64-blocks a warpgroup. The tile of x takes the
// result before it is stored.
__device__ __forceinline__ void finish_forward(float (&o)[kAcc], char* x, float* r, int tokens,
                                               float eps) {
  int warp = threadIdx.x % 128 / 32, lane = threadIdx.x % 32;
  uint32_t base = shared_address(x);
  auto address = [&](int j) {  // row token 8j + lane % 8, channels warp*16 (+8 for lanes 8-15)
    int token = 8 * j + lane % 8, part = warp * 2 + lane / 8 % 2;
    return base + token * 128 + ((part ^ (token & 7)) << 4);
  };
  float first = 0, second = 0;  // channels lane/4 and lane/4 + 8
#pragma unroll
  for (int j = 0; j < kAcc / 4; ++j) {
    uint32_t a, b;
    load_transposed(address(j), a, b);
    o[4 * j] += low(a), o[4 * j + 1] += high(a), o[4 * j + 2] += low(b), o[4 * j + 3] += high(b);
    first += o[4 * j] * o[4 * j] + o[4 * j + 1] * o[4 * j + 1];
    second += o[4 * j + 2] * o[4 * j + 2] + o[4 * j + 3] * o[4 * j + 3];
  }
#pragma unroll
  for (int step = 1; step < 4; step *= 2) {
    first += __shfl_xor_sync(~0u, first, step);
    second += __shfl_xor_sync(~0u, second, step);
  }
  first = rsqrtf(first / tokens + eps);
  second = rsqrtf(second / tokens + eps);
  if (r && lane % 4 == 0) {
    r[warp * 16 + lane / 4] = first;
    r[warp * 16 + lane / 4 + 8] = second;
  }
#pragma unroll
  for (int j = 0; j < kAcc / 4; ++j) {
    store_transposed(address(j), pack(o[4 * j] * first, o[4 * j + 1] * first),
                     pack(o[4 * j + 2] * second, o[4 * j + 3] * second));
  }
}

__global__ __launch_bounds__(kThreads,
                             1) void forward_kernel(const __grid_constant__ TokenMaps maps,
                                                    float* r, int tokens, int width, int inner,
                                                    int tiles, float eps) {
  extern __shared__ char raw[];
  Buffers s = set_up(raw);
  int chunks = inner / 64, parts = width / 256;
  if (threadIdx.x < 128) {
    give_registers<24>();
    if (threadIdx.x == 0) {
      int step = 0;
      for (int tile = blockIdx.x, count = 0; tile < tiles; tile += gridDim.x, ++count) {
        int set = count & 1;
        barrier_wait(s.tiles_empty + set, ((count / 2) & 1) ^ 1);
        barrier_expect(s.tiles_full + set, 4 * kTile);
        for (int i = 0; i < 4; ++i) {
          tma_load(s.tiles + (set * 4 + i) * kTile, &maps.x, s.tiles_full + set,
                   tile % parts * 256 + i * 64, 0, tile / parts);
        }
        for (int c = 0; c < chunks; ++c, ++step) {
          barrier_wait(s.empty + step % 2, ((step / 2) & 1) ^ 1);
          load_chunk(s.ring + step % 2 * kChunk, maps, s.full + step % 2, c, inner);
        }
      }
    }
    return;
  }
  take_registers<240>();
  int group = threadIdx.x / 128 - 1;
  bool leader = threadIdx.x % 128 == 0;
  int step = 0;
  for (int tile = blockIdx.x, count = 0; tile < tiles; tile += gridDim.x, ++count) {
    int set = count & 1;
    char* x = s.tiles + (set * 4 + group * 2) * kTile;
    barrier_wait(s.tiles_full + set, (count / 2) & 1);
    float o[2][kAcc];
    for (int c = 0; c < chunks; ++c, ++step) {
      uint32_t chunk = shared_address(s.ring + step % 2 * kChunk);
      barrier_wait(s.full + step % 2, (step / 2) & 1);
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        float gu[64];
        wgmma_fence();
        gate_up_product(gu, shared_address(x) + m * kTile, chunk);
        wgmma_commit();
        wgmma_wait<0>();
        settle(gu);
        if (m == 0 && c > 0 && leader) barrier_arrive(s.empty + (step - 1) % 2);
        uint32_t p[4][4];
#pragma unroll
        for (int i = 0; i < 16; ++i) {
          float g0 = gu[2 * i], g1 = gu[2 * i + 1];
          p[i / 4][i % 4] =
              pack(g0 * sigmoid(g0) * gu[32 + 2 * i], g1 * sigmoid(g1) * gu[32 + 2 * i + 1]);
        }
        wgmma_fence();
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          wgmma_n104_regs<0>(o[m], p[k], k_major(chunk + kDown) + 2 * k, c + k > 0);
        }
        wgmma_commit();
      }
    }
    wgmma_wait<0>();
    settle(o[0]);
    settle(o[1]);
    if (leader) barrier_arrive(s.empty + (step - 1) % 2);
    int channel = tile % parts * 256 + group * 128, sample = tile / parts;
    float* scales = r ? r + static_cast<int64_t>(sample) * width + channel : nullptr;
    finish_forward(o[0], x, scales, tokens, eps);
    finish_forward(o[1], x + kTile, scales ? scales + 64 : nullptr, tokens, eps);
    fence_async_proxy();
    group_sync(1 + group);
    if (leader) {
      tma_store(&maps.y, x, channel, 0, sample);
      tma_store(&maps.y, x + kTile, channel + 64, 0, sample);
      tma_store_commit();
      tma_store_wait_read();
      barrier_arrive(s.tiles_empty + set);
    }
  }
}

// From g, u (in gu) and dp: packed operands dg, du and p = silu(g) u. Block i holds values 2i,
// 2i+1.
__device__ __forceinline__ void gate_gradient(float g0, float u0, float dp0, float g1, float u1,
                                              float dp1, uint32_t& dg, uint32_t& du, uint32_t* p) {
  float s0 = sigmoid(g0), s1 = sigmoid(g1), a0 = g0 * s0, a1 = g1 * s1;
  dg = pack(dp0 * u0 * (s0 + a0 * (1 - s0)), dp1 * u1 * (s1 + a1 * (1 - s1)));
  du = pack(dp0 * a0, dp1 * a1);
  if (p) *p = pack(a0 * u0, a1 * u1);
}

// dx = ds + [dg | du] [Wg; Wu]: a tile is 128 channels, x and ds of each warpgroup's 64.
__global__ __launch_bounds__(kThreads,
                             1) void input_gradient_kernel(const __grid_constant__ TokenMaps maps,
                                                           int width, int inner, int tiles) {
  extern __shared__ char raw[];
  Buffers s = set_up(raw);
  int chunks = inner / 64, parts = width / 128;
  if (threadIdx.x < 128) {
    give_registers<24>();
    if (threadIdx.x == 0) {
      int step = 0;
      for (int tile = blockIdx.x, count = 0; tile < tiles; tile += gridDim.x, ++count) {
        int set = count & 1;
        barrier_wait(s.tiles_empty + set, ((count / 2) & 1) ^ 1);
        barrier_expect(s.tiles_full + set, 4 * kTile);
        for (int i = 0; i < 4; ++i) {
          tma_load(s.tiles + (set * 4 + i) * kTile, i % 2 ? &maps.ds : &maps.x, s.tiles_full + set,
                   tile % parts * 128 + i / 2 * 64, 0, tile / parts);
        }
        for (int c = 0; c < chunks; ++c, ++step) {
          barrier_wait(s.empty + step % 2, ((step / 2) & 1) ^ 1);
          load_chunk(s.ring + step % 2 * kChunk, maps, s.full + step % 2, c, inner);
        }
      }
    }
    return;
  }
  take_registers<240>();
  int group = threadIdx.x / 128 - 1;
  bool leader = threadIdx.x % 128 == 0;
  int warp = threadIdx.x % 128 / 32, lane = threadIdx.x % 32;
  int step = 0;
  for (int tile = blockIdx.x, count = 0; tile < tiles; tile += gridDim.x, ++count) {
    int set = count & 1;
    char* x = s.tiles + (set * 4 + group * 2) * kTile;
    char* ds = x + kTile;
    barrier_wait(s.tiles_full + set, (count / 2) & 1);
    float dx[kAcc];
    for (int c = 0; c < chunks; ++c, ++step) {
      uint32_t chunk = shared_address(s.ring + step % 2 * kChunk);
      barrier_wait(s.full + step % 2, (step / 2) & 1);
      float gu[64], dp[32];
      wgmma_fence();
      gate_up_product(gu, shared_address(x), chunk);
#pragma unroll
      for (int k = 0; k < kSteps; ++k) {
        wgmma_n64<1, 1>(dp, mn_major(shared_address(ds) + k * 2048),
                        mn_major(chunk + kDown + k * 2048), k > 0);
      }
      wgmma_commit();
      wgmma_wait<0>();
      settle(gu);
      settle(dp);
      if (c > 0 && leader) barrier_arrive(s.empty + (step - 1) % 2);
      uint32_t dg[4][4], du[4][4];
#pragma unroll
      for (int i = 0; i < 16; ++i) {
        gate_gradient(gu[2 * i], gu[32 + 2 * i], dp[2 * i], gu[2 * i + 1], gu[32 + 2 * i + 1],
                      dp[2 * i + 1], dg[i / 4][i % 4], du[i / 4][i % 4], nullptr);
      }
      wgmma_fence();
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        uint32_t rows = chunk + k * 2048;
        wgmma_n104_regs<1>(dx, dg[k], mn_major(rows, 2 * kQuarter), c + k > 0);
        wgmma_n104_regs<1>(dx, du[k], mn_major(rows + kQuarter, 2 * kQuarter), 1);
      }
      wgmma_commit();
    }
    wgmma_wait<0>();
    settle(dx);
    if (leader) barrier_arrive(s.empty + (step - 1) % 2);
    uint32_t base = shared_address(ds);
#pragma unroll
    for (int j = 0; j < kAcc / 4; ++j) {
      int token = 8 * j + lane % 8, part = warp * 2 + lane / 8 % 2;
      uint32_t address = base + token * 128 + ((part ^ (token & 7)) << 4), a, b;
      load_transposed(address, a, b);
      store_transposed(address, pack(dx[4 * j] + low(a), dx[4 * j + 1] + high(a)),
                       pack(dx[4 * j + 2] + low(b), dx[4 * j + 3] + high(b)));
    }
    fence_async_proxy();
    group_sync(1 + group);
    if (leader) {
      tma_store(&maps.y, ds, tile % parts * 128 + group * 64, 0, tile / parts);
      tma_store_commit();
      tma_store_wait_read();
      barrier_arrive(s.tiles_empty + set);
    }
  }
}

// Weight gradients: a block keeps one chunk of 64 inner units and runs over its share of the
// channels; here inner units are the M, and tokens the N of the sums, which stay in registers.
constexpr int kPairs = 6;  // tiles of x and ds in flight
constexpr int kWeightShared = 1024 + kChunk + kPairs * 2 * kTile + 8 * (2 * kPairs + 1);

__global__ __launch_bounds__(kThreads,
                             1) void weight_gradient_kernel(const __grid_constant__ TokenMaps maps,
                                                            float* partial, int width, int inner,
                                                            int tiles) {
  extern __shared__ char raw[];
  char* chunk = align_shared(raw);
  char* ring = chunk + kChunk;
  auto* full = reinterpret_cast<uint64_t*>(ring + kPairs * 2 * kTile);
  uint64_t *empty = full + kPairs, *weights = empty + kPairs;
  if (threadIdx.x == 0) {
    for (int i = 0; i < 2 * kPairs + 1; ++i) barrier_init(full + i, 1);
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    fence_async_proxy();
  }
  __syncthreads();
  int parts = width / 64, c = blockIdx.x, splits = gridDim.y;
  if (threadIdx.x < 128) {
    give_registers<24>();
    if (threadIdx.x == 0) {
      load_chunk(chunk, maps, weights, c, inner);
      int step = 0;
      for (int tile = blockIdx.y; tile < tiles; tile += splits, ++step) {
        int slot = step % kPairs;
        barrier_wait(empty + slot, ((step / kPairs) & 1) ^ 1);
        barrier_expect(full + slot, 2 * kTile);
        char* to = ring + slot * 2 * kTile;
        tma_load(to, &maps.x, full + slot, tile % parts * 64, 0, tile / parts);
        tma_load(to + kTile, &maps.ds, full + slot, tile % parts * 64, 0, tile / parts);
      }
    }
    return;
  }
  take_registers<240>();
  int group = threadIdx.x / 128 - 1;
  bool leader = threadIdx.x % 128 == 0;
  uint32_t w = shared_address(chunk);
  float dgate[kAcc], dup[kAcc], ddown[kAcc];
#pragma unroll
  for (int i = 0; i < kAcc; ++i) dgate[i] = dup[i] = ddown[i] = 0;
  barrier_wait(weights, 0);
  int step = 0;
  for (int tile = blockIdx.y; tile < tiles; tile += splits, ++step) {
    if (step % 2 != group) continue;
    int slot = step % kPairs;
    uint32_t x = shared_address(ring + slot * 2 * kTile), ds = x + kTile;
    barrier_wait(full + slot, (step / kPairs) & 1);
#pragma unroll 1
    for (int part = 0; part < 2; ++part) {  // 32 channels each
      float g[16], u[16], dp[16];
      wgmma_fence();
#pragma unroll
      for (int k = 0; k < kSteps; ++k) {
        uint64_t a = k_major(w + k / 4 * 2 * kQuarter) + 2 * (k % 4);
        uint64_t b = mn_major(x + k * 2048 + part * 64);
        wgmma_n32<0, 1>(g, a, b, k > 0);
        wgmma_n32<0, 1>(u, a + (kQuarter >> 4), b, k > 0);
        wgmma_n32<1, 1>(dp, mn_major(w + kDown + k * 2048), mn_major(ds + k * 2048 + part * 64),
                        k > 0);
      }
      wgmma_commit();
      wgmma_wait<0>();
      settle(g);
      settle(u);
      settle(dp);
      uint32_t dg[2][4], du[2][4], p[2][4];
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        gate_gradient(g[2 * i], u[2 * i], dp[2 * i], g[2 * i + 1], u[2 * i + 1], dp[2 * i + 1],
                      dg[i / 4][i % 4], du[i / 4][i % 4], &p[i / 4][i % 4]);
      }
      wgmma_fence();
#pragma unroll
      for (int k = 0; k < 2; ++k) {
        uint64_t bx = k_major(x) + part * 4 + 2 * k, bs = k_major(ds) + part * 4 + 2 * k;
        wgmma_n104_regs<0>(dgate, dg[k], bx, 1);
        wgmma_n104_regs<0>(dup, du[k], bx, 1);
        wgmma_n104_regs<0>(ddown, p[k], bs, 1);
      }
      wgmma_commit();
      wgmma_wait<0>();
      settle(dgate);
      settle(dup);
      settle(ddown);
    }
    if (leader) barrier_arrive(empty + slot);
  }
  int warp = threadIdx.x % 128 / 32, lane = threadIdx.x % 32;
  float* to = partial + static_cast<int64_t>(2 * blockIdx.y + group) * 3 * inner * kTokensMax;
  auto store = [&](const float(&acc)[kAcc], int kind) {
#pragma unroll
    for (int i = 0; i < kAcc; i += 2) {
      int row = kind * inner + c * 64 + warp * 16 + lane / 4 + i / 2 % 2 * 8;
      int token = i / 4 * 8 + lane % 4 * 2;
      *reinterpret_cast<float2*>(to + row * kTokensMax + token) = {acc[i], acc[i + 1]};
    }
  };
  store(dgate, 0);
  store(dup, 1);
  store(ddown, 2);
}

__global__ void sum_partials_kernel(const float* partial, float* dgate_up, float* ddown, int tokens,
                                    int inner) {
  int at = blockIdx.x * blockDim.x + threadIdx.x, size = 3 * inner * kTokensMax;
  if (at >= size) return;
  float sum = 0;
  for (int i = 0; i < 2 * kTokenSplits; ++i) sum += partial[static_cast<int64_t>(i) * size + at];
  int row = at / kTokensMax, token = at % kTokensMax;
  if (token >= tokens) return;
  if (row < 2 * inner) {
    dgate_up[row * tokens + token] = sum;
  } else {
    ddown[token * inner + row - 2 * inner] = sum;
  }
}

template <class Kernel>
void allow_shared(Kernel kernel, int bytes) {
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
        "token_mixing");
}

}  // namespace

void token_mixing(const TokenMaps& maps, float* r, int batch, int tokens, int width, int inner,
                  float eps, int processors, cudaStream_t stream) {
  static const bool once = (allow_shared(forward_kernel, kShared), true);
  static_cast<void>(once);
  int tiles = batch * (width / 256);
  int blocks = std::min(tiles, processors);
  forward_kernel<<<blocks, kThreads, kShared, stream>>>(maps, r, tokens, width, inner, tiles, eps);
  check(cudaGetLastError(), "token_mixing");
}

void token_mixing_input_gradient(const TokenMaps& maps, int batch, int width, int inner,
                                 int processors, cudaStream_t stream) {
  static const bool once = (allow_shared(input_gradient_kernel, kShared), true);
  static_cast<void>(once);
  int tiles = batch * (width / 128);
  int blocks = std::min(tiles, processors);
  input_gradient_kernel<<<blocks, kThreads, kShared, stream>>>(maps, width, inner, tiles);
  check(cudaGetLastError(), "token_mixing_input_gradient");
}

void token_mixing_weight_gradient(const TokenMaps& maps, float* partial, int batch, int width,
                                  int inner, cudaStream_t stream) {
  static const bool once = (allow_shared(weight_gradient_kernel, kWeightShared), true);
  static_cast<void>(once);
  dim3 grid(inner / 64, kTokenSplits);
  weight_gradient_kernel<<<grid, kThreads, kWeightShared, stream>>>(maps, partial, width, inner,
                                                                    batch * (width / 64));
  check(cudaGetLastError(), "token_mixing_weight_gradient");
}

void token_mixing_sum_partials(const float* partial, float* dgate_up, float* ddown, int tokens,
                               int inner, cudaStream_t stream) {
  int size = 3 * inner * kTokensMax;
  sum_partials_kernel<<<(size + 255) / 256, 256, 0, stream>>>(partial, dgate_up, ddown, tokens,
                                                              inner);
  check(cudaGetLastError(), "token_mixing_sum_partials");
}

}  // namespace trm::ops::cuda
