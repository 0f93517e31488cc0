// AMX: bfloat16 products by tiles of 16 rows x 16 words, all else as AVX-512. A panel is laid out
// as the instruction wants its right side, a row for each word of k.
//
// A test compiles this file for any processor, with TRM_TILES a header that has the _tile functions
// in plain C++ and TRM_TABLE the name of the table it then makes.
#if defined(TRM_TILES) || (defined(__x86_64__) && defined(__linux__))
#ifndef TRM_TILES
#define TRM_TILES <immintrin.h>
#define TRM_TABLE kernels_amx
#define TRM_LANES 16
#define TRM_ROWS 14
#define TRM_NATIVE_BF16
#endif
#include TRM_TILES
#include "trm/ops/cpu/kernels_inl.h"

namespace trm::ops::cpu {
namespace {

constexpr int kTile = 16;  // rows, words and columns of a tile

struct alignas(64) TileConfig {
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};

// Rows of c and a that this thread has configured tiles for, or 0: tiles 0-3 are (rows, 16 floats)
// of c, 4 and 5 (rows, 16 words) of a, 6 and 7 (16 words, 16 columns) of a panel.
thread_local int configured = 0;

void configure(int rows) {
  if (configured == rows) return;
  TileConfig config{};
  config.palette = 1;
  for (int i = 0; i < 8; ++i) {
    config.row_bytes[i] = kTile * 4;
    config.rows[i] = static_cast<uint8_t>(i < 6 ? rows : kTile);
  }
  asm volatile("" : : "r"(&config) : "memory");  // the header names 8 of its bytes as read
  _tile_loadconfig(&config);
  configured = rows;
}

void release() {
  if (configured) _tile_release();
  configured = 0;
}

// The words along k past the last whole tile, with zeros after them.
struct Rest {
  alignas(64) Word a[2 * kTile * kTile], panel[kTile * kPanel];
};

inline void copy_padded(const Word* from, int n, Word* to) {
#if defined(__AVX512F__)
  _mm512_store_ps(to, _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1), from));
#else
  for (int i = 0; i < kTile; ++i) to[i] = i < n ? from[i] : 0.0f;
#endif
}

template <int R, int N>
inline void multiply(const Word* a, long row_stride, const Word* panel) {
  _tile_loadd(6, panel, kPanel * 4);
  _tile_loadd(4, a, row_stride * 4);
  _tile_dpbf16ps(0, 4, 6);
  if constexpr (N == 2) {
    _tile_loadd(7, panel + kTile, kPanel * 4);
    _tile_dpbf16ps(1, 4, 7);
  }
  if constexpr (R == 2) {
    _tile_loadd(5, a + kTile * row_stride, row_stride * 4);
    _tile_dpbf16ps(2, 5, 6);
    if constexpr (N == 2) _tile_dpbf16ps(3, 5, 7);
  }
}

// R x N tiles of c, R of rows and N of columns, over whole tiles of k and then the rest.
template <int R, int N>
void tiles(const Word* a, long row_stride, const Word* panel, long k_words, const Rest* rest,
           float* c, long ldc, bool accumulate) {
  const long c_bytes = ldc * 4;
  float* lower = c + kTile * ldc;
  if (accumulate) {
    _tile_loadd(0, c, c_bytes);
    if constexpr (N == 2) _tile_loadd(1, c + kTile, c_bytes);
    if constexpr (R == 2) _tile_loadd(2, lower, c_bytes);
    if constexpr (R == 2 && N == 2) _tile_loadd(3, lower + kTile, c_bytes);
  } else {
    _tile_zero(0);
    if constexpr (N == 2) _tile_zero(1);
    if constexpr (R == 2) _tile_zero(2);
    if constexpr (R == 2 && N == 2) _tile_zero(3);
  }
  for (long k = 0; k < k_words; k += kTile) {
    multiply<R, N>(a + k, row_stride, panel + k * kPanel);
  }
  if (rest) multiply<R, N>(rest->a, kTile, rest->panel);
  _tile_stored(0, c, c_bytes);
  if constexpr (N == 2) _tile_stored(1, c + kTile, c_bytes);
  if constexpr (R == 2) _tile_stored(2, lower, c_bytes);
  if constexpr (R == 2 && N == 2) _tile_stored(3, lower + kTile, c_bytes);
}

// An element is the same bits wherever its row falls.
template <int N>
void tile_rows(const Word* a, long row_stride, int rows, const Word* panel, long k_words, float* c,
               long ldc, bool accumulate) {
  const long k = k_words / kTile * kTile;
  const int left = static_cast<int>(k_words - k);
  Rest rest;
  if (left) {
    for (int i = 0; i < kTile * kPanel; i += W) {
      store(rest.panel + i, i < left * kPanel ? load(panel + k * kPanel + i) : V{});
    }
  }
  for (int row = 0, height; row < rows; row += height) {
    height = rows - row >= 2 * kTile ? 2 * kTile : rows - row >= kTile ? kTile : rows - row;
    if (height < kTile && rows > kTile && !accumulate) {
      row = rows - kTile;  // a tile over some of the rows before again
      height = kTile;
    }
    configure(height < kTile ? height : kTile);
    const Word* from = a + row * row_stride;
    asm volatile("" : : : "memory");
    for (int m = 0; left && m < height; ++m) {
      copy_padded(from + m * row_stride + k, left, rest.a + m * kTile);
    }
    asm volatile("" : : "r"(&rest) : "memory");  // tiles are loaded behind the compiler's back
    if (height > kTile) {
      tiles<2, N>(from, row_stride, panel, k, left ? &rest : nullptr, c + row * ldc, ldc,
                  accumulate);
    } else {
      tiles<1, N>(from, row_stride, panel, k, left ? &rest : nullptr, c + row * ldc, ldc,
                  accumulate);
    }
  }
}

void gemm_tiles(const Word* a, long row_stride, long k_stride, int rows, const Word* panel,
                long k_words, float* c, long ldc, int columns, bool accumulate) {
  if (k_stride != 1) {
    gemm<true>(a, row_stride, k_stride, rows, panel, k_words, c, ldc, columns, accumulate);
  } else if (columns > kTile) {
    tile_rows<2>(a, row_stride, rows, panel, k_words, c, ldc, accumulate);
  } else {
    tile_rows<1>(a, row_stride, rows, panel, k_words, c, ldc, accumulate);
  }
}

void turn(const Word* panel, long k_words, Word* rows, long ld) {
  for (int n0 = 0; n0 < kPanel; n0 += W) {
    long k = 0;
    for (; k + W <= k_words; k += W) {
      const Word* from[W];
      for (int i = 0; i < W; ++i) from[i] = panel + (k + i) * kPanel + n0;
      transpose_words(from, 0, rows + n0 * ld + k, ld);
    }
    for (; k < k_words; ++k) {
      for (int n = n0; n < n0 + W; ++n) rows[n * ld + k] = panel[k * kPanel + n];
    }
  }
}

constexpr Kernels with_tiles() {
  Kernels k = table<true>("amx");
  k.gemm = gemm_tiles;
  k.pass_rows = 224;
  k.whole_words = kTile;
  k.turn = turn;
  k.release = release;
  return k;
}

}  // namespace

extern const Kernels TRM_TABLE[2];
const Kernels TRM_TABLE[2] = {table<false>("amx"), with_tiles()};

}  // namespace trm::ops::cpu
#endif
