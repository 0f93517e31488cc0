// AMX: bfloat16 products by tiles of 16 rows x 16 words, all else as AVX-512. A panel is laid out
// as the instruction wants its right side, a row for each word of k.
//
// A test compiles this file for any processor, with TRM_TILES a header that has the _tile functions
// in plain C++ and TRM_TABLE the name of the table it then makes.
#if defined(TRM_TILES) || (defined(__AMX_BF16__) && defined(__linux__))
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

constexpr int kTile = 16;     // rows, words and columns of a tile
constexpr long kDepth = 128;  // words along k of one pass: a panel's part of them stays in L1

struct alignas(64) TileConfig {
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};

// What this thread has configured: tiles 0-3 are (rows, 16 floats) of c, 4 and 5 (rows, words) of
// a, 6 and 7 (words, 16 columns) of a panel. No rows: nothing.
struct Shape {
  int rows, words;
};
thread_local Shape shape{0, 0};

void configure(int rows, int words) {
  if (shape.rows == rows && shape.words == words) return;
  TileConfig config{};
  config.palette = 1;
  for (int i = 0; i < 8; ++i) {
    config.row_bytes[i] = static_cast<uint16_t>(i == 4 || i == 5 ? words * 4 : kTile * 4);
    config.rows[i] = static_cast<uint8_t>(i < 6 ? rows : words);
  }
  asm volatile("" : : "r"(&config) : "memory");  // the header names 8 of its bytes as read
  _tile_loadconfig(&config);
  shape = {rows, words};
}

void release() {
  if (shape.rows == 0) return;
  _tile_release();
  shape = {0, 0};
}

// R x N tiles of c, R of rows and N of columns.
template <int R, int N>
void tiles(const Word* a, long row_stride, const Word* panel, long k_words, long step, float* c,
           long ldc, bool accumulate) {
  const long a_bytes = row_stride * 4, c_bytes = ldc * 4;
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
  for (long k = 0; k < k_words; k += step) {
    const Word* b = panel + k * kPanel;
    _tile_loadd(6, b, kPanel * 4);
    _tile_loadd(4, a + k, a_bytes);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (N == 2) {
      _tile_loadd(7, b + kTile, kPanel * 4);
      _tile_dpbf16ps(1, 4, 7);
    }
    if constexpr (R == 2) {
      _tile_loadd(5, a + kTile * row_stride + k, a_bytes);
      _tile_dpbf16ps(2, 5, 6);
      if constexpr (N == 2) _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(0, c, c_bytes);
  if constexpr (N == 2) _tile_stored(1, c + kTile, c_bytes);
  if constexpr (R == 2) _tile_stored(2, lower, c_bytes);
  if constexpr (R == 2 && N == 2) _tile_stored(3, lower + kTile, c_bytes);
}

// k_words is a multiple of kTile, or below it. An element is the same bits wherever its row falls.
template <int N>
void tile_rows(const Word* a, long row_stride, int rows, const Word* panel, long k_words, float* c,
               long ldc, bool accumulate) {
  const int words = k_words < kTile ? static_cast<int>(k_words) : kTile;
  const int whole = rows / kTile * kTile;
  if (whole) configure(kTile, words);
  for (long k = 0; k < k_words; k += kDepth) {
    const long n = k_words - k < kDepth ? k_words - k : kDepth;
    const Word* b = panel + k * kPanel;
    const bool more = accumulate || k > 0;
    int row = 0;
    for (; row + 2 * kTile <= whole; row += 2 * kTile) {
      tiles<2, N>(a + row * row_stride + k, row_stride, b, n, words, c + row * ldc, ldc, more);
    }
    if (row < whole) {
      tiles<1, N>(a + row * row_stride + k, row_stride, b, n, words, c + row * ldc, ldc, more);
    }
  }
  if (whole == rows) return;
  int first = rows - kTile;  // a tile over some of the last rows again
  if (accumulate || whole == 0) {
    configure(rows - whole, words);
    first = whole;
  }
  tiles<1, N>(a + first * row_stride, row_stride, panel, k_words, words, c + first * ldc, ldc,
              accumulate);
}

void gemm_tiles(const Word* a, long row_stride, long k_stride, int rows, const Word* panel,
                long k_words, float* c, long ldc, int columns, bool accumulate) {
  if (k_stride != 1) {
    return gemm<true>(a, row_stride, k_stride, rows, panel, k_words, c, ldc, columns, accumulate);
  }
  const long k = k_words < kTile ? k_words : k_words / kTile * kTile;
  if (columns > kTile) {
    tile_rows<2>(a, row_stride, rows, panel, k, c, ldc, accumulate);
  } else {
    tile_rows<1>(a, row_stride, rows, panel, k, c, ldc, accumulate);
  }
  if (k < k_words) {
    gemm<true>(a + k, row_stride, 1, rows, panel + k * kPanel, k_words - k, c, ldc, columns, true);
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
  k.turn = turn;
  k.release = release;
  return k;
}

}  // namespace

extern const Kernels TRM_TABLE[2];
const Kernels TRM_TABLE[2] = {table<false>("amx"), with_tiles()};

}  // namespace trm::ops::cpu
#endif
