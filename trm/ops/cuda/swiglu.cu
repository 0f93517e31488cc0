// P = silu(X Wg^T) * (X Wu^T) in one kernel, X (rows, 512), optionally also storing [g | u].
#include <algorithm>

#include "trm/ops/cuda/kernels.h"
#include "trm/ops/cuda/row_product.cuh"

namespace trm::ops::cuda {
namespace {

struct Output {
  half *product, *gate_up;  // (rows, inner), (rows, 2 inner)
  int rows, inner;
};

struct Pending {  // words of a store of 16 bytes
  uint32_t p[4], g[4], u[4];
};

// Part i of 8 of the previous tile, 4 columns of a row; two parts are stored together.
template <bool kSave>
__device__ __forceinline__ void gate_part(const float (&acc)[64], int i, int row, int first,
                                          const Output& out, Pending& pending) {
  int group = i / 4, half = i / 2 % 2, upper = i % 2;
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    int block = 2 * upper + j, at = 16 * group + 4 * block + 2 * half;
    float g0 = acc[at], g1 = acc[at + 1], u0 = acc[32 + at], u1 = acc[33 + at];
    pending.p[block] = pack(g0 * sigmoid(g0) * u0, g1 * sigmoid(g1) * u1);
    if (kSave) pending.g[block] = pack(g0, g1), pending.u[block] = pack(u0, u1);
  }
  row += half * 8;
  if (upper && row < out.rows) {
    int column = first + group * 32 + threadIdx.x % 4 * 8;
    store_words(out.product + static_cast<int64_t>(row) * out.inner + column, pending.p);
    if (kSave) {
      auto* to = out.gate_up + static_cast<int64_t>(row) * 2 * out.inner + column;
      store_words(to, pending.g);
      store_words(to + out.inner, pending.u);
    }
  }
}

template <bool kSave>
__global__ __launch_bounds__(RowProduct::kThreads,
                             1) void swiglu_kernel(const __grid_constant__ CUtensorMap x,
                                                   const __grid_constant__ CUtensorMap weight,
                                                   Output out, int units) {
  extern __shared__ char raw[];
  RowProduct product(raw + tile_gap(raw));
  int tiles = out.inner / 128;
  if (threadIdx.x < 128) {
    product.produce(x, tiles, units, [&](char* to, uint64_t* full, int k, int tile) {
      int gate = tile * 2, up = out.inner / 32 + gate;  // groups of 32
      tma_load_weight(to, &weight, full, k, gate);
      tma_load_weight(to + RowProduct::kBlockBytes / 2, &weight, full, k, up);
    });
    return;
  }
  Pending pending;
  product.consume<64>(
      tiles, units, out.rows,
      [&](const float(&acc)[64], int i, int row, int column) {
        gate_part<kSave>(acc, i, row, column, out, pending);
      },
      [](int) {});
}

template <bool kSave>
void launch(const SwigluMaps& maps, const Output& out, int processors, cudaStream_t stream) {
  auto* kernel = swiglu_kernel<kSave>;
  static const cudaError_t set = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, RowProduct::kShared);
  check(set, "swiglu");
  int units = (out.rows + RowProduct::kRows - 1) / RowProduct::kRows * 2;
  int blocks = std::min(units, processors);
  kernel<<<blocks, RowProduct::kThreads, RowProduct::kShared, stream>>>(maps.x, maps.weight, out,
                                                                        units);
  check(cudaGetLastError(), "swiglu");
}

}  // namespace

void swiglu(const SwigluMaps& maps, half* product, half* gate_up, int rows, int inner,
            int processors, cudaStream_t stream) {
  Output out{product, gate_up, rows, inner};
  gate_up ? launch<true>(maps, out, processors, stream)
          : launch<false>(maps, out, processors, stream);
}

}  // namespace trm::ops::cuda
