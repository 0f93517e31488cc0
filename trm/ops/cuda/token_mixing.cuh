// What token mixing's kernels share: the weights as chunks of 64 inner units, and the gate's
// gradient.
#pragma once

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

// From g, u (in gu) and dp: packed operands dg, du and p = silu(g) u. Block i holds values 2i,
// 2i+1.
__device__ __forceinline__ void gate_gradient(float g0, float u0, float dp0, float g1, float u1,
                                              float dp1, uint32_t& dg, uint32_t& du, uint32_t* p) {
  float s0 = sigmoid(g0), s1 = sigmoid(g1), a0 = g0 * s0, a1 = g1 * s1;
  dg = pack(dp0 * u0 * (s0 + a0 * (1 - s0)), dp1 * u1 * (s1 + a1 * (1 - s1)));
  du = pack(dp0 * a0, dp1 * a1);
  if (p) *p = pack(a0 * u0, a1 * u1);
}

template <class Kernel>
void allow_shared(Kernel kernel, int bytes) {
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
        "token_mixing");
}

}  // namespace
}  // namespace trm::ops::cuda
