// Body of the tables in kernels.h. Each kernels_<isa>.cpp is compiled with its own machine flags,
// defines TRM_LANES (floats in a vector register), TRM_ROWS (rows of a register tile) and includes
// this. Everything here has internal linkage and nothing from the standard library is used, so that
// no function compiled for a newer processor can be linked in place of a common one.
#pragma once

#include <utility>

#include "trm/ops/cpu/elements_inl.h"

namespace trm::ops::cpu {
namespace {

// One k-step: c += a·b over the element or pair in each lane.
template <bool BF>
inline V multiply_add(V a, V b, V c) {
  if constexpr (!BF) {
    return a * b + c;
  } else {
#ifdef TRM_NATIVE_BF16
    return (V)_mm512_dpbf16_ps((__m512)c, (__m512bh)(__m512)a, (__m512bh)(__m512)b);
#else
    const U high = U{} + 0xffff0000u;
    c = (V)((U)a << 16) * (V)((U)b << 16) + c;
    return (V)((U)a & high) * (V)((U)b & high) + c;
#endif
  }
}

template <bool BF, int R, int N>
void tile(const Word* a, long row_stride, long k_stride, const Word* panel, long k_words, float* c,
          long ldc, bool accumulate) {
  V acc[R][N];
  for (int m = 0; m < R; ++m) {
    for (int n = 0; n < N; ++n) acc[m][n] = V{};
  }
  for (long k = 0; k < k_words; ++k) {
    V b[N];
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) b[n] = load(panel + n * W);
#pragma GCC unroll 16
    for (int m = 0; m < R; ++m) {
      V x = splat(a[m * row_stride]);
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) acc[m][n] = multiply_add<BF>(x, b[n], acc[m][n]);
    }
    a += k_stride;
    panel += kPanel;
  }
  for (int m = 0; m < R; ++m) {
    for (int n = 0; n < N; ++n) {
      float* out = c + m * ldc + n * W;
      store(out, accumulate ? load(out) + acc[m][n] : acc[m][n]);
    }
  }
}

template <bool BF, int N, int R = TRM_ROWS>
inline void tile_of(int rows, const Word* a, long row_stride, long k_stride, const Word* panel,
                    long k_words, float* c, long ldc, bool accumulate) {
  if (rows == R) {
    tile<BF, R, N>(a, row_stride, k_stride, panel, k_words, c, ldc, accumulate);
  } else if constexpr (R > 1) {
    tile_of<BF, N, R - 1>(rows, a, row_stride, k_stride, panel, k_words, c, ldc, accumulate);
  }
}

template <bool BF>
void gemm(const Word* a, long row_stride, long k_stride, int rows, const Word* panel, long k_words,
          float* c, long ldc, int columns, bool accumulate) {
  int tiles = (rows + TRM_ROWS - 1) / TRM_ROWS;
  for (int t = 0, row = 0; t < tiles; ++t) {
    int height = (rows - row + tiles - t - 1) / (tiles - t);  // as even as can be
    const Word* at = a + row * row_stride;
    for (int n = 0; n < columns; n += 2 * W) {
      float* out = c + row * ldc + n;
      if (columns - n > W) {
        tile_of<BF, 2>(height, at, row_stride, k_stride, panel + n, k_words, out, ldc, accumulate);
      } else {
        tile_of<BF, 1>(height, at, row_stride, k_stride, panel + n, k_words, out, ldc, accumulate);
      }
    }
    row += height;
  }
}

// Interleaves the low (part 0) or high (part 1) halves of two vectors.
template <int part, int... i>
inline V interleave(V a, V b, std::integer_sequence<int, i...>) {
  return __builtin_shufflevector(a, b, (part * W / 2 + i / 2 + (i % 2) * W)...);
}

// A square of W x W words, columns[n] + k -> rows of `out`: log2(W) rounds of interleaving.
inline void transpose_words(const Word* const* columns, long k, Word* out, long ld) {
  constexpr std::make_integer_sequence<int, W> lanes{};
  V v[W], u[W];
#pragma GCC unroll 16
  for (int n = 0; n < W; ++n) v[n] = load(columns[n] + k);
#pragma GCC unroll 4
  for (int step = W / 2; step > 0; step /= 2) {
#pragma GCC unroll 16
    for (int n = 0; n < W / 2; ++n) {
      u[2 * n] = interleave<0>(v[n], v[n + W / 2], lanes);
      u[2 * n + 1] = interleave<1>(v[n], v[n + W / 2], lanes);
    }
#pragma GCC unroll 16
    for (int n = 0; n < W; ++n) v[n] = u[n];
  }
#pragma GCC unroll 16
  for (int i = 0; i < W; ++i) store(out + i * ld, v[i]);
}

void pack_rows(const void* const* columns, long k_words, Word* panel) {
  for (int n0 = 0; n0 < kPanel; n0 += W) {
    const Word* from[W];
    bool whole = true;
    for (int n = 0; n < W; ++n) {
      from[n] = static_cast<const Word*>(columns[n0 + n]);
      whole = whole && from[n];
    }
    long k = 0;
    if (whole) {
      for (; k + W <= k_words; k += W) transpose_words(from, k, panel + k * kPanel + n0, kPanel);
    }
    for (; k < k_words; ++k) {
      for (int n = 0; n < W; ++n) panel[k * kPanel + n0 + n] = from[n] ? from[n][k] : 0.0f;
    }
  }
}

template <bool BF>
void pack_columns(const void* const* rows, long k, long first, int width, Word* panel) {
  const int step = BF ? 2 : 1;
  for (long i = 0; i < k; i += step) {
    const void* a = rows[i];
    const void* b = BF && i + 1 < k ? rows[i + 1] : nullptr;
    for (int n = 0; n < kPanel; n += W) {
      int some = width - n < W ? (width > n ? width - n : 0) : W;
      V low = a ? get_some<BF>(a, first + n, some) : V{};
      V out = low;
      if constexpr (BF) {
        V high = b ? get_some<BF>(b, first + n, some) : V{};
        out = (V)(((U)low >> 16) | (U)high);
      }
      store(panel + i / step * kPanel + n, out);
    }
  }
}

template <bool BF>
void pack_block(const float* block, long ld, long k, Word* panel) {
  const int step = BF ? 2 : 1;
  for (long i = 0; i < k; i += step) {
    for (int n = 0; n < kPanel; n += W) {
      V out = load(block + i * ld + n);
      if constexpr (BF) out = pair_word(out, i + 1 < k ? load(block + (i + 1) * ld + n) : V{});
      store(panel + i / step * kPanel + n, out);
    }
  }
}

template <bool BF>
constexpr Kernels table(const char* name) {
  return {name,
          gemm<BF>,
          add<BF>,
          narrow<BF>,
          widen<BF>,
          pack_rows,
          pack_columns<BF>,
          pack_block<BF>,
          add_residual<BF>,
          norm_rows<BF>,
          norm_columns<BF>,
          norm_rows_backward<BF>,
          norm_columns_backward<BF>,
          add_blocks<BF>,
          gate_columns<BF>,
          gate_rows<BF>,
          gate_columns_backward<BF>,
          gate_rows_backward<BF>,
          rotate<BF>,
          rotate_back<BF>,
          softmax_rows<BF>,
          scale_rows<BF>,
          dot_rows<BF>,
          softmax_backward<BF>,
          adam_atan2};
}

}  // namespace
}  // namespace trm::ops::cpu
