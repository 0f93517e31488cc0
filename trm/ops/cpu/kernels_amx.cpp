// AMX: products by tiles of 16 rows x 16 words, all else as AVX-512. A panel of bfloat16 is laid
// out as the instruction wants its right side, a row for each word of k; of split floats every
// third row is.
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

// The words along k past the last whole step, with zeros after them. Split rows have their own.
struct Rest {
  alignas(64) Word a[2 * kTile * kTile], panel[3 * kTile * kPanel];
};

inline void copy_padded(const Word* from, int n, Word* to) {
#if defined(__AVX512F__)
  _mm512_store_ps(to, _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1), from));
#else
  for (int i = 0; i < kTile; ++i) to[i] = i < n ? from[i] : 0.0f;
#endif
}

// Below, P is 1 for bfloat16 or 3, the parts of a split float.
// Words of k of one step: a tile of each part.
template <int P>
constexpr int kStep{kTile * P};

// Loads tiles of the left or the right side and multiplies them by the other ones that are loaded.
template <int R, int N>
inline void multiply_left(const Word* a, long row_stride) {
  _tile_loadd(4, a, row_stride * 4);
  _tile_dpbf16ps(0, 4, 6);
  if constexpr (N == 2) _tile_dpbf16ps(1, 4, 7);
  if constexpr (R == 2) {
    _tile_loadd(5, a + kTile * row_stride, row_stride * 4);
    _tile_dpbf16ps(2, 5, 6);
    if constexpr (N == 2) _tile_dpbf16ps(3, 5, 7);
  }
}
template <int R, int N>
inline void multiply_right(const Word* panel, long bytes) {
  _tile_loadd(6, panel, bytes);
  _tile_dpbf16ps(0, 4, 6);
  if constexpr (N == 2) {
    _tile_loadd(7, panel + kTile, bytes);
    _tile_dpbf16ps(1, 4, 7);
  }
  if constexpr (R == 2) {
    _tile_dpbf16ps(2, 5, 6);
    if constexpr (N == 2) _tile_dpbf16ps(3, 5, 7);
  }
}

// Of the nine products of parts the six that reach a float's last bit, in an order with few loads.
template <int P, int R, int N>
inline void multiply(const Word* a, long row_stride, const Word* panel) {
  constexpr long bytes = P * kPanel * 4;
  _tile_loadd(6, panel, bytes);
  if constexpr (N == 2) _tile_loadd(7, panel + kTile, bytes);
  if constexpr (P == 1) {
    multiply_left<R, N>(a, row_stride);
  } else {
    multiply_left<R, N>(a + 2 * kTile, row_stride);   // third · first
    multiply_left<R, N>(a, row_stride);               // first · first
    multiply_right<R, N>(panel + 2 * kPanel, bytes);  // first · third
    multiply_right<R, N>(panel + kPanel, bytes);      // first · second
    multiply_left<R, N>(a + kTile, row_stride);       // second · second
    multiply_right<R, N>(panel, bytes);               // second · first
  }
}

// R x N tiles of c, R of rows and N of columns, over whole tiles of k and then the rest.
template <int P, int R, int N>
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
  for (long k = 0; k < k_words; k += kStep<P>) {
    multiply<P, R, N>(a + k, row_stride, panel + k * kPanel);
  }
  if (rest && P > 1) multiply<P, R, N>(a + k_words, row_stride, rest->panel);
  if (rest && P == 1) multiply<P, R, N>(rest->a, kTile, rest->panel);
  _tile_stored(0, c, c_bytes);
  if constexpr (N == 2) _tile_stored(1, c + kTile, c_bytes);
  if constexpr (R == 2) _tile_stored(2, lower, c_bytes);
  if constexpr (R == 2 && N == 2) _tile_stored(3, lower + kTile, c_bytes);
}

// An element is the same bits wherever its row falls. Blocks of rows go over a part of the panel
// that stays in the first-level cache before the next part, and c waits in memory.
template <int P, int N>
void tile_rows(const Word* a, long row_stride, int rows, const Word* panel, long k_words, float* c,
               long ldc, bool accumulate) {
  constexpr long part = kPartWords / kStep<P> * kStep<P>;
  const long k = k_words / kStep<P> * kStep<P>;
  const int left = static_cast<int>(k_words - k);
  Rest rest;
  if (left) {
    for (int i = 0; i < kStep<P> * kPanel; i += W) {
      store(rest.panel + i, i < left * kPanel ? load(panel + k * kPanel + i) : V{});
    }
  }
  // R tiles of rows over [from, to) of k.
  auto block = [&](auto height, int row, int count, long from, long to, bool add) {
    const Word* left_side = a + row * row_stride;
    const bool last = left && to == k;
    for (int m = 0; P == 1 && last && m < count; ++m) {
      copy_padded(left_side + m * row_stride + k, left, rest.a + m * kTile);
    }
    asm volatile("" : : "r"(&rest) : "memory");  // tiles are loaded behind the compiler's back
    tiles<P, height.value, N>(left_side + from, row_stride, panel + from * kPanel, to - from,
                              last ? &rest : nullptr, c + row * ldc, ldc, add);
  };
  const int pairs = rows / (2 * kTile) * 2 * kTile;
  if (pairs) configure(kTile);
  for (long from = 0; pairs && (from < k || from == 0); from += part) {
    for (int row = 0; row < pairs; row += 2 * kTile) {
      block(std::integral_constant<int, 2>{}, row, 2 * kTile, from,
            from + part < k ? from + part : k, accumulate || from > 0);
    }
  }
  for (int row = pairs, height; row < rows; row += height) {
    height = rows - row < kTile ? rows - row : kTile;
    if (height < kTile && rows > kTile && !accumulate) {
      row = rows - kTile;  // a tile over some of the rows before again
      height = kTile;
    }
    configure(height);
    block(std::integral_constant<int, 1>{}, row, height, 0, k, accumulate);
  }
}

template <int P>
void gemm_tiles(const Word* a, long row_stride, long k_stride, int rows, const Word* panel,
                long k_words, float* c, long ldc, int columns, bool accumulate) {
  if (P == 1 && k_stride != 1) {
    gemm<true>(a, row_stride, k_stride, rows, panel, k_words, c, ldc, columns, accumulate);
  } else if (columns > kTile) {
    tile_rows<P, 2>(a, row_stride, rows, panel, k_words, c, ldc, accumulate);
  } else {
    tile_rows<P, 1>(a, row_stride, rows, panel, k_words, c, ldc, accumulate);
  }
}

// The row of a panel whose words are at k in rows.
template <int P>
inline long panel_row(long k) {
  return k / kStep<P> * kStep<P> + k % kTile * P + k % kStep<P> / kTile;
}

template <int P>
void turn(const Word* panel, long k_words, Word* rows, long ld) {
  const long whole = k_words / kStep<P> * kStep<P>;
  const long end = P > 1 && whole < k_words ? whole + kStep<P> : k_words;
  for (int n0 = 0; n0 < kPanel; n0 += W) {
    for (long k = 0; k < whole; k += W) {
      const Word* from[W];
      for (int i = 0; i < W; ++i) from[i] = panel + panel_row<P>(k + i) * kPanel + n0;
      transpose_words(from, 0, rows + n0 * ld + k, ld);
    }
    for (long k = whole; k < end; ++k) {
      const long row = panel_row<P>(k);
      for (int n = n0; n < n0 + W; ++n) {
        rows[n * ld + k] = row < k_words ? panel[row * kPanel + n] : 0.0f;
      }
    }
  }
}

// The bits of the nearest bfloat16 as a float's, and v less that: by integers, which is a third of
// the work of converting.
inline U take_first(V& v) {
  U first = ((U)v + 0x8000u) & 0xffff0000u;
  v -= (V)first;
  return first;
}

// What grows in place is written from its end on.
template <int P>
void split_rows(const float* rows, long ld, long count, long n, Word* out, long ld_out) {
  constexpr int step = 2 * kTile;
  for (long m = 0; m < count; ++m) {
    for (long i = (n - 1) / step; i >= 0; --i) {
      V v[step / W];
      for (int j = 0; j < step / W; ++j) {
        long k = i * step + j * W;
        v[j] = k < n ? get_some<false>(rows, m * ld + k, n - k < W ? static_cast<int>(n - k) : W)
                     : V{};
      }
      for (int j = 0; j < step / W; ++j) {
        Word* to = out + m * ld_out + i * kStep<P>;
        for (int part = 0; part < P; ++part, to += kTile) {
          *reinterpret_cast<HU*>(reinterpret_cast<Half*>(to) + j * W) =
              __builtin_convertvector(take_first(v[j]) >> 16, H);
        }
      }
    }
  }
}

template <int P>
void split_panel(Word* panel, long pairs) {
  for (long i = pairs - 1; i >= 0; --i) {
    for (int n = 0; n < kPanel; n += W) {
      const Word* from = panel + 2 * i * kPanel + n;
      V a = load(from), b = load(from + kPanel);
      Word* to = panel + P * i * kPanel + n;
      for (int part = 0; part < P; ++part, to += kPanel) {
        U low = take_first(a), high = take_first(b);
        store(to, (V)(low >> 16 | high));
      }
    }
  }
}

constexpr Kernels with_tiles() {
  Kernels k = table<true>("amx");
  k.gemm = gemm_tiles<1>;
  k.pass_rows = 224;
  k.whole_words = kStep<1>;
  k.turn = turn<1>;
  k.release = release;
  return k;
}

constexpr Kernels with_split_floats() {
  Kernels k = table<false>("amx");
  k.gemm = gemm_tiles<3>;
  k.whole_words = kStep<3>;
  k.turn = turn<3>;
  k.parts = 3;
  k.split_rows = split_rows<3>;
  k.split_panel = split_panel<3>;
  k.release = release;
  return k;
}

}  // namespace

extern const Kernels TRM_TABLE[2];
const Kernels TRM_TABLE[2] = {with_split_floats(), with_tiles()};

}  // namespace trm::ops::cpu
#endif
