// The gradients of token mixing's weights, over all samples and channels.
#include "trm/ops/cuda/token_mixing.cuh"

namespace trm::ops::cuda {
namespace {

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
    fence_barriers();
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

}  // namespace

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
