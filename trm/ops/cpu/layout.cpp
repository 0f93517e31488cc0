#include "trm/ops/cpu/layout.h"

#include <cstring>

namespace trm::ops::cpu {

Rows left_side(const Type& t, const Rows& rows, long count, long n, Scratch& scratch) {
  if (!t.k.parts) return rows;
  Word* out = scratch.floats(count * t.room(n));
  t.k.split_rows(rows.row(t, 0), rows.ld, count, n, out, t.room(n));
  return {out, t.room(n)};
}

Rows left_side(const Type& t, void* rows, long ld, long count, long n) {
  if (t.k.parts) {
    t.k.split_rows(static_cast<const Word*>(rows), ld, count, n, static_cast<Word*>(rows), ld);
  }
  return {rows, ld};
}

void finish_panel(const Type& t, long n, Word* panel) {
  if (!t.k.parts) return;
  std::fill(panel + n * kPanel, panel + round_up(n, t.pair) * kPanel, 0.0f);
  t.k.split_panel(panel, ceil_div(n, t.pair));
}

void column_panel(const Type& t, const void* const* rows, long n, long first, int width,
                  Word* panel) {
  t.k.pack_columns(rows, n, first, width, panel);
  finish_panel(t, n, panel);
}

void block_panel(const Type& t, const float* block, long ld, long n, Word* panel) {
  t.k.pack_block(block, ld, n, panel);
  finish_panel(t, n, panel);
}

void row_panel(const Type& t, const void* const* columns, long n, Word* panel) {
  t.k.pack_rows(columns, ceil_div(n, t.per_word), panel);
  finish_panel(t, n, panel);
}

Rows narrow_rows(const Type& t, const float* weight, long rows, long n, Scratch& scratch) {
  if (t.per_word == 1) return {weight, n};
  long ld = t.room(n);
  void* out = scratch.bytes(rows * ld * t.size);
  parallel(rows, [&](long begin, long end) {
    if (ld == n) return t.k.narrow(weight + begin * n, t.at(out, begin * n), (end - begin) * n);
    for (long r = begin; r < end; ++r) {
      t.k.narrow(weight + r * n, t.at(out, r * ld), n);
      std::memset(t.at(out, r * ld + n), 0, (ld - n) * t.size);
    }
  });
  return {out, ld};
}

Rows narrow_transposed(const Type& t, const float* weight, long n, long columns, Scratch& scratch) {
  float* turned = scratch.floats(n * columns);
  parallel(ceil_div(columns, kPanel), [&](long begin, long end) {
    for (long c0 = begin * kPanel; c0 < std::min(end * kPanel, columns); c0 += kPanel) {
      long c1 = std::min(c0 + kPanel, columns);
      for (long r = 0; r < n; ++r) {
        for (long c = c0; c < c1; ++c) turned[c * n + r] = weight[r * columns + c];
      }
    }
  });
  return narrow_rows(t, turned, columns, n, scratch);
}

Word* pack_rows(const Type& t, const Rows& weight, long rows, long n, Scratch& scratch) {
  long k = t.words(n), panels = ceil_div(rows, kPanel);
  Word* out = scratch.floats(panels * k * kPanel);
  parallel(panels, [&](long begin, long end) {
    for (long j = begin; j < end; ++j) {
      const void* columns[kPanel] = {};
      for (long r = j * kPanel; r < std::min(rows, (j + 1) * kPanel); ++r) {
        columns[r % kPanel] = weight.row(t, r);
      }
      row_panel(t, columns, n, out + j * k * kPanel);
    }
  });
  return out;
}

Word* pack_columns(const Type& t, const void* const* rows, long k, long columns, Scratch& scratch) {
  long words = t.words(k), panels = ceil_div(columns, kPanel);
  Word* out = scratch.floats(panels * words * kPanel);
  parallel(panels, [&](long begin, long end) {
    for (long j = begin; j < end; ++j) {
      int width = static_cast<int>(std::min<long>(kPanel, columns - j * kPanel));
      column_panel(t, rows, k, j * kPanel, width, out + j * words * kPanel);
    }
  });
  return out;
}

const void** row_pointers(const Type& t, const void* first, long ld, long count, long whole,
                          Scratch& scratch) {
  auto out = static_cast<const void**>(scratch.bytes(whole * sizeof(void*)));
  for (long i = 0; i < whole; ++i) out[i] = i < count ? t.at(first, i * ld) : nullptr;
  return out;
}

void panel_products(const Type& t, const Word* left, long left_panels, const Word* right,
                    long right_panels, long k_words, float* c, bool accumulate) {
  // Words along k of one pass: two panels of them fit in L1, or, for tiles, one.
  const long depth = t.k.turn ? 256 / t.k.whole_words * t.k.whole_words : 128;
  constexpr long group = 8;  // right panels of one pass over left: their part of c stays in L2
  const long ld = turned_stride(depth);
  Scratch scratch;
  Word* turned = nullptr;  // panel i's part from k on: at (k/depth*left_panels + i) * 32*ld
  if (t.k.turn) {
    turned = scratch.floats(ceil_div(k_words, depth) * left_panels * kPanel * ld);
    parallel(left_panels, [&](long begin, long end) {
      for (long i = begin; i < end; ++i) {
        for (long k = 0; k < k_words; k += depth) {
          t.k.turn(left + (i * k_words + k) * kPanel, std::min(depth, k_words - k),
                   turned + (k / depth * left_panels + i) * kPanel * ld, ld);
        }
      }
    });
  }
  parallel(right_panels, [&](long begin, long end) {
    for (long first = begin; first < end; first += group) {
      for (long k = 0; k < k_words; k += depth) {
        for (long j = first; j < std::min(first + group, end); ++j) {
          for (long i = 0; i < left_panels; ++i) {
            const Word* a = turned ? turned + (k / depth * left_panels + i) * kPanel * ld
                                   : left + (i * k_words + k) * kPanel;
            t.k.gemm(a, turned ? ld : 1, turned ? 1 : kPanel, kPanel,
                     right + (j * k_words + k) * kPanel, std::min(depth, k_words - k),
                     c + (j * left_panels + i) * kPanel * kPanel, kPanel, kPanel,
                     accumulate || k > 0);
          }
        }
      }
    }
  });
}

void unpack_panels(const float* c, long left_panels, long rows, long columns, float* out) {
  parallel(rows, [&](long begin, long end) {
    for (long r = begin; r < end; ++r) {
      for (long n = 0; n < columns; n += kPanel) {
        std::copy_n(c + (n * left_panels + r) * kPanel, std::min<long>(kPanel, columns - n),
                    out + r * columns + n);
      }
    }
  });
}

void unpack_panels_turned(const float* c, long left_panels, long rows, long columns, float* out) {
  parallel(columns, [&](long begin, long end) {
    for (long n = begin; n < end; ++n) {
      const float* from = c + n / kPanel * left_panels * kPanel * kPanel + n % kPanel;
      for (long r = 0; r < rows; ++r) out[n * rows + r] = from[r * kPanel];
    }
  });
}

}  // namespace trm::ops::cpu
