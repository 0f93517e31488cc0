// Token mixing without its intermediate in memory. The tokens of a channel (a column of x[b],
// tokens x width) are a feed-forward of their own, so channels are the M of every product: a
// warpgroup takes 64 channels of a sample and streams the weights past them in chunks of 64 inner
// units, the gate's result staying in registers as the next product's operand (as in flash
// attention).
#include <algorithm>

#include "trm/ops/cuda/token_mixing.cuh"

namespace trm::ops::cuda {
namespace {

constexpr int kShared = 1024 + 8 * kTile + 2 * kChunk + 64;

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
    fence_barriers();
  }
  __syncthreads();
  return {shared, ring, b, b + 2, b + 4, b + 6};
}

// The first warpgroup's part: of each tile its four pieces by load(to, barrier, piece, tile), then
// all chunks of the weights.
template <typename Load>
__device__ __forceinline__ void produce(const Buffers& s, const TokenMaps& maps, int chunks,
                                        int inner, int tiles, const Load& load) {
  give_registers<24>();
  if (threadIdx.x != 0) return;
  int step = 0;
  for (int tile = blockIdx.x, count = 0; tile < tiles; tile += gridDim.x, ++count) {
    int set = count & 1;
    barrier_wait(s.tiles_empty + set, ((count / 2) & 1) ^ 1);
    barrier_expect(s.tiles_full + set, 4 * kTile);
    for (int i = 0; i < 4; ++i) {
      load(s.tiles + (set * 4 + i) * kTile, s.tiles_full + set, i, tile);
    }
    for (int c = 0; c < chunks; ++c, ++step) {
      barrier_wait(s.empty + step % 2, ((step / 2) & 1) ^ 1);
      load_chunk(s.ring + step % 2 * kChunk, maps, s.full + step % 2, c, inner);
    }
  }
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
    produce(s, maps, chunks, inner, tiles, [&](char* to, uint64_t* full, int i, int tile) {
      tma_load(to, &maps.x, full, tile % parts * 256 + i * 64, 0, tile / parts);
    });
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

// dx = ds + [dg | du] [Wg; Wu]: a tile is 128 channels, x and ds of each warpgroup's 64.
__global__ __launch_bounds__(kThreads,
                             1) void input_gradient_kernel(const __grid_constant__ TokenMaps maps,
                                                           int width, int inner, int tiles) {
  extern __shared__ char raw[];
  Buffers s = set_up(raw);
  int chunks = inner / 64, parts = width / 128;
  if (threadIdx.x < 128) {
    produce(s, maps, chunks, inner, tiles, [&](char* to, uint64_t* full, int i, int tile) {
      tma_load(to, i % 2 ? &maps.ds : &maps.x, full, tile % parts * 128 + i / 2 * 64, 0,
               tile / parts);
    });
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

}  // namespace trm::ops::cuda
