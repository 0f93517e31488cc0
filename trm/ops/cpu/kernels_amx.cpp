// AMX: products by tiles of 16 rows x 16 words, all else as AVX-512. A panel is laid out as the
// instructions want their right side, a row for each word of k.
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

constexpr int kTile = 16;                // rows, words and columns of a tile
constexpr long kPartWords = 16 * kTile;  // rows of a panel that stay in the first-level cache

struct alignas(64) TileConfig {
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};

// What this thread has configured: tiles before `left` have `rows` rows, the others, which hold a
// panel's words, 16. All have 16 columns of 4 bytes.
struct Configured {
  int rows, left;
};
thread_local Configured configured{};

void configure(int rows, int left) {
  if (configured.rows == rows && (configured.left == left || rows == kTile)) return;
  TileConfig config{};
  config.palette = 1;
  for (int i = 0; i < 8; ++i) {
    config.row_bytes[i] = kTile * 4;
    config.rows[i] = static_cast<uint8_t>(i < left ? rows : kTile);
  }
  asm volatile("" : : "r"(&config) : "memory");  // the header names 8 of its bytes as read
  _tile_loadconfig(&config);
  configured = {rows, left};
}

void release() {
  if (configured.rows) _tile_release();
  configured = {};
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

// bfloat16: tiles 0 to 3 are of c, 4 and 5 of a, 6 and 7 of a panel.
constexpr int kLeft = 6;

template <int R, int N>
inline void multiply(const Word* a, long row_stride, const Word* panel) {
  constexpr long bytes = kPanel * 4;
  _tile_loadd(6, panel, bytes);
  if constexpr (N == 2) _tile_loadd(7, panel + kTile, bytes);
  _tile_loadd(4, a, row_stride * 4);
  _tile_dpbf16ps(0, 4, 6);
  if constexpr (N == 2) _tile_dpbf16ps(1, 4, 7);
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
  for (long k = 0; k < k_words; k += kTile) multiply<R, N>(a + k, row_stride, panel + k * kPanel);
  if (rest) multiply<R, N>(rest->a, kTile, rest->panel);
  _tile_stored(0, c, c_bytes);
  if constexpr (N == 2) _tile_stored(1, c + kTile, c_bytes);
  if constexpr (R == 2) _tile_stored(2, lower, c_bytes);
  if constexpr (R == 2 && N == 2) _tile_stored(3, lower + kTile, c_bytes);
}

// An element is the same bits wherever its row falls. Blocks of rows go over a part of the panel
// that stays in the first-level cache before the next part, and c waits in memory.
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
  // R tiles of rows over [from, to) of k.
  auto block = [&](auto height, int row, int count, long from, long to, bool add) {
    const Word* left_side = a + row * row_stride;
    const bool last = left && to == k;
    for (int m = 0; last && m < count; ++m) {
      copy_padded(left_side + m * row_stride + k, left, rest.a + m * kTile);
    }
    asm volatile("" : : "r"(&rest) : "memory");  // tiles are loaded behind the compiler's back
    tiles<height.value, N>(left_side + from, row_stride, panel + from * kPanel, to - from,
                           last ? &rest : nullptr, c + row * ldc, ldc, add);
  };
  const int pairs = rows / (2 * kTile) * 2 * kTile;
  if (pairs) configure(kTile, kLeft);
  for (long from = 0; pairs && (from < k || from == 0); from += kPartWords) {
    for (int row = 0; row < pairs; row += 2 * kTile) {
      block(std::integral_constant<int, 2>{}, row, 2 * kTile, from,
            from + kPartWords < k ? from + kPartWords : k, accumulate || from > 0);
    }
  }
  for (int row = pairs, height; row < rows; row += height) {
    height = rows - row < kTile ? rows - row : kTile;
    if (height < kTile && rows > kTile && !accumulate) {
      row = rows - kTile;  // a tile over some of the rows before again
      height = kTile;
    }
    configure(height, kLeft);
    block(std::integral_constant<int, 1>{}, row, height, 0, k, accumulate);
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

// Split floats. With the bytes of a as first, second and third digits of a number to the base 256,
// and those of b, tiles 0, 1 and 2 sum the digits' products of the highest place, the next and the
// third, which is a float's last bit; 3, 4 and 5 for 16 more columns. Tile 6 is of a, 7 of a panel.
constexpr int kSplitLeft = 7;
constexpr long kStep = 3 * kTile;
// Steps whose sums no 32-bit integer overflows: 3 * 128 * 128 for each of their elements.
constexpr long kMostSteps = (1L << 31) / (3 * 128 * 128) / 64 - 1;

template <int N>
inline void multiply_split(const Word* a, long row_stride, const Word* panel) {
  constexpr long bytes = kPanel * 4, next = kTile * kPanel;
  // No tile is summed into again before the product before is done: that takes 52 cycles, each 16.
  _tile_loadd(6, a, row_stride * 4);
  _tile_loadd(7, panel + next, bytes);
  _tile_dpbssd(1, 6, 7);
  if constexpr (N == 2) _tile_loadd(7, panel + next + kTile, bytes);
  if constexpr (N == 2) _tile_dpbssd(4, 6, 7);
  _tile_loadd(7, panel + 2 * next, bytes);
  _tile_dpbssd(2, 6, 7);
  if constexpr (N == 2) _tile_loadd(7, panel + 2 * next + kTile, bytes);
  if constexpr (N == 2) _tile_dpbssd(5, 6, 7);
  _tile_loadd(7, panel, bytes);
  _tile_dpbssd(0, 6, 7);
  if constexpr (N == 2) _tile_loadd(7, panel + kTile, bytes);
  if constexpr (N == 2) _tile_dpbssd(3, 6, 7);

  _tile_loadd(6, a + kTile, row_stride * 4);
  _tile_loadd(7, panel + next, bytes);
  _tile_dpbssd(2, 6, 7);
  if constexpr (N == 2) _tile_loadd(7, panel + next + kTile, bytes);
  if constexpr (N == 2) _tile_dpbssd(5, 6, 7);
  _tile_loadd(7, panel, bytes);
  _tile_dpbssd(1, 6, 7);
  if constexpr (N == 2) _tile_loadd(7, panel + kTile, bytes);
  if constexpr (N == 2) _tile_dpbssd(4, 6, 7);

  _tile_loadd(6, a + 2 * kTile, row_stride * 4);
  _tile_loadd(7, panel, bytes);
  _tile_dpbssd(2, 6, 7);
  if constexpr (N == 2) _tile_loadd(7, panel + kTile, bytes);
  if constexpr (N == 2) _tile_dpbssd(5, 6, 7);
}

// The sums of tiles 0 to 3*N - 1 as floats: times the units of a's rows and of the panel's columns.
template <int N>
inline void store_sums(const Word* row_units, long row_stride, const Word* units, int rows,
                       float* c, long ldc, bool accumulate) {
  alignas(64) int32_t sums[3 * N][kTile * kTile];
  _tile_stored(0, sums[0], 64);
  _tile_stored(1, sums[1], 64);
  _tile_stored(2, sums[2], 64);
  if constexpr (N == 2) {
    _tile_stored(3, sums[3], 64);
    _tile_stored(4, sums[4], 64);
    _tile_stored(5, sums[5], 64);
  }
  asm volatile("" : : "r"(&sums) : "memory");
  for (int m = 0; m < rows; ++m) {
    for (int n = 0; n < N * kTile; n += W) {
      const int32_t* at = sums[n / kTile * 3] + m * kTile + n % kTile;
      auto sum = [&](int i) {
        return __builtin_convertvector(
            (I)load(reinterpret_cast<const Word*>(at) + i * kTile * kTile), V);
      };
      V v = (sum(2) * (1.0f / 256) + sum(1)) * (1.0f / 256) + sum(0);
      v = v * load(units + n) * row_units[m * row_stride];
      float* to = c + m * ldc + n;
      store(to, accumulate ? load(to) + v : v);
    }
  }
}

template <int N>
void split_tile_rows(const Word* a, long row_stride, int rows, const Word* panel, long k, float* c,
                     long ldc, bool accumulate) {
  for (int row = 0; row < rows; row += kTile) {
    const int height = rows - row < kTile ? rows - row : kTile;
    const Word* left = a + row * row_stride;
    configure(height, kSplitLeft);
    for (long from = 0; from < k; from += kMostSteps * kStep) {
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      if constexpr (N == 2) {
        _tile_zero(3);
        _tile_zero(4);
        _tile_zero(5);
      }
      const long to = k - from < kMostSteps * kStep ? k : from + kMostSteps * kStep;
      for (long i = from; i < to; i += kStep) {
        multiply_split<N>(left + i, row_stride, panel + i * kPanel);
      }
      store_sums<N>(left + k, row_stride, panel + k * kPanel, height, c + row * ldc, ldc,
                    accumulate || from > 0);
    }
  }
}

void gemm_split(const Word* a, long row_stride, long, int rows, const Word* panel, long k_words,
                float* c, long ldc, int columns, bool accumulate) {
  const long k = k_words / kStep * kStep;  // the unit follows
  if (columns > kTile) {
    split_tile_rows<2>(a, row_stride, rows, panel, k, c, ldc, accumulate);
  } else {
    split_tile_rows<1>(a, row_stride, rows, panel, k, c, ldc, accumulate);
  }
}

void turn(const Word* panel, long k_words, Word* rows, long ld) {
  const long whole = k_words / W * W;
  for (int n0 = 0; n0 < kPanel; n0 += W) {
    for (long k = 0; k < whole; k += W) {
      const Word* from[W];
      for (int i = 0; i < W; ++i) from[i] = panel + (k + i) * kPanel + n0;
      transpose_words(from, 0, rows + n0 * ld + k, ld);
    }
    for (long k = whole; k < k_words; ++k) {
      for (int n = n0; n < n0 + W; ++n) rows[n * ld + k] = panel[k * kPanel + n];
    }
  }
}

// The larger of the magnitudes' bits, which order as the values do, NaN last.
inline U larger_bits(U top, V v) {
  U bits = (U)v & 0x7fffffffu;
  return bits > top ? bits : top;
}

// What a float is multiplied by to become its integer, and the unit, from the bits of the largest.
struct Factor {
  V times, unit;
};
inline Factor factor(U top) {
  V most = (V)(top > 0x7f7fffffu ? U{} + 0x7fc00000u : top);  // an infinity: NaN
  most = most < 1e-30f ? splat(1e-30f) : most;                // whose reciprocal is a float
  return {127.0f * 65536 / most, most * (1.0f / 127)};
}

inline U rounded(V v) {
#if defined(__AVX512F__)
  return (U)_mm512_cvtps_epi32((__m512)v);
#else
  return (U) __builtin_convertvector(v + (v < 0.0f ? splat(-0.5f) : splat(0.5f)), I);
#endif
}

// Four elements' first, second and third bytes. The integers plus 128*256 + 128 have bytes that are
// the signed ones plus 128, but the first.
inline void split_four(const V v[4], V times, V out[3]) {
  U t[4];
  for (int i = 0; i < 4; ++i) t[i] = rounded(v[i] * times + (128.0f * 256 + 128));
  const U even = U{} + 0x00ff00ffu;
  U low = (t[0] & even) | ((t[1] & even) << 8), high = (t[2] & even) | ((t[3] & even) << 8);
  U low_1 = ((t[0] >> 8) & even) | (t[1] & ~even), high_1 = ((t[2] >> 8) & even) | (t[3] & ~even);
  const U half = U{} + 0xffffu, sign = U{} + 0x80808080u;
  out[0] = (V)((low >> 16) | (high & ~half));
  out[1] = (V)(((low_1 & half) | (high_1 << 16)) ^ sign);
  out[2] = (V)(((low & half) | (high << 16)) ^ sign);
}

void split_rows(const float* rows, long ld, long count, long n, Word* out, long ld_out) {
  const long steps = (n + 63) / 64;
  for (long m = 0; m < count; ++m) {
    const float* from = rows + m * ld;
    Word* to = out + m * ld_out;
    auto some = [&](long k) {
      const long left = n - k;
      return left > 0 ? get_some<false>(from, k, left < W ? static_cast<int>(left) : W) : V{};
    };
    U top{};
    for (long k = 0; k < n; k += W) top = larger_bits(top, some(k));
    uint32_t most = 0;
    for (int i = 0; i < W; ++i) most = top[i] > most ? top[i] : most;
    const Factor f = factor(U{} + most);
    for (long i = 0; i < steps; ++i) {
      for (int lane = 0; lane < kTile; lane += W) {
        V v[4], parts[3];
        for (int j = 0; j < 4; ++j) v[j] = some(i * 64 + j * kTile + lane);
        split_four(v, f.times, parts);
        for (int p = 0; p < 3; ++p) store(to + i * kStep + p * kTile + lane, parts[p]);
      }
    }
    to[steps * kStep] = f.unit[0];
  }
}

void split_panel(const Word* panel, long n, Word* out) {
  const long steps = (n + 63) / 64;
  for (int column = 0; column < kPanel; column += W) {
    U top{};
    for (long k = 0; k < n; ++k) top = larger_bits(top, load(panel + k * kPanel + column));
    const Factor f = factor(top);
    for (long i = 0; i < steps; ++i) {
      for (int word = 0; word < kTile; ++word) {
        V v[4], parts[3];
        for (int j = 0; j < 4; ++j) {
          const long k = i * 64 + j * kTile + word;
          v[j] = k < n ? load(panel + k * kPanel + column) : V{};
        }
        split_four(v, f.times, parts);
        for (int p = 0; p < 3; ++p) {
          store(out + (i * kStep + p * kTile + word) * kPanel + column, parts[p]);
        }
      }
    }
    store(out + steps * kStep * kPanel + column, f.unit);
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

constexpr Kernels with_split_floats() {
  Kernels k = table<false>("amx");
  k.gemm = gemm_split;
  k.turn = turn;
  k.split_rows = split_rows;
  k.split_panel = split_panel;
  k.release = release;
  return k;
}

}  // namespace

extern const Kernels TRM_TABLE[2];
const Kernels TRM_TABLE[2] = {with_split_floats(), with_tiles()};

}  // namespace trm::ops::cpu
#endif
