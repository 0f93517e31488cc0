#include "trm/ops/cpu/layout.h"

#include <cstring>

namespace trm::ops::cpu {

Rows left_side(const Type& t, const Rows& rows, long count, long n, Scratch& scratch) {
  if (!t.k.split_rows) return rows;
  Word* out = scratch.floats(count * t.words(n));
  t.k.split_rows(rows.row(t, 0), rows.ld, count, n, out, t.words(n));
  return {out, t.words(n)};
}

Rows left_side(const Type& t, void* rows, long ld, long count, long n) {
  if (t.k.split_rows) {
    t.k.split_rows(static_cast<const Word*>(rows), ld, count, n, static_cast<Word*>(rows), ld);
  }
  return {rows, ld};
}

const Word* right_side(const Type& t, const Word* panel, long n, Scratch& scratch) {
  if (!t.k.split_panel) return panel;
  Word* out = scratch.floats(t.words(n) * kPanel);
  t.k.split_panel(panel, n, out);
  return out;
}

void make_right_side(const Type& t, Word* panel, long n) {
  if (t.k.split_panel) t.k.split_panel(panel, n, panel);
}

namespace {
// Lets `pack` fill a panel of n elements along k that becomes the right side `panel`.
template <typename F>
void pack_right_side(const Type& t, long n, Word* panel, const F& pack) {
  if (!t.k.split_panel) return pack(panel);
  Scratch scratch;
  Word* plain = scratch.floats(n * kPanel);
  pack(plain);
  t.k.split_panel(plain, n, panel);
}
}  // namespace

void column_panel(const Type& t, const void* const* rows, long n, long first, int width,
                  Word* panel) {
  pack_right_side(t, n, panel, [&](Word* to) { t.k.pack_columns(rows, n, first, width, to); });
}

void block_panel(const Type& t, const float* block, long ld, long n, Word* panel) {
  pack_right_side(t, n, panel, [&](Word* to) { t.k.pack_block(block, ld, n, to); });
}

void row_panel(const Type& t, const void* const* columns, long n, Word* panel) {
  pack_right_side(t, n, panel, [&](Word* to) { t.k.pack_rows(columns, t.plain_words(n), to); });
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
                    long right_panels, long n, float* c, bool accumulate) {
  // Elements along k of one pass: two panels of them fit in L1, or, for tiles, one. Split ones fit
  // in L2, so that few passes add to c.
  const long depth = t.k.split_rows ? round_up(ceil_div(n, ceil_div(n, 640)), 64)
                                    : (t.k.turn ? 256 : 128) * t.per_word;
  constexpr long group = 8;  // right panels of one pass over left: their part of c stays in L2
  const long rows = t.plain_words(n), ld = odd_lines(t.room_words(depth));
  auto part = [&](const Word* panels, long i, long k) {
    return panels + (i * rows + k / t.per_word) * kPanel;
  };
  Scratch scratch;
  Word* turned = nullptr;  // panel i's part from k on: at (k/depth*left_panels + i) * 32*ld
  if (t.k.turn) {
    turned = scratch.floats(ceil_div(n, depth) * left_panels * kPanel * ld);
    parallel(left_panels, [&](long begin, long end) {
      for (long i = begin; i < end; ++i) {
        for (long k = 0; k < n; k += depth) {
          const long here = std::min(depth, n - k);
          Word* to = turned + (k / depth * left_panels + i) * kPanel * ld;
          t.k.turn(part(left, i, k), t.plain_words(here), to, ld);
          left_side(t, to, ld, kPanel, here);
        }
      }
    });
  }
  parallel(right_panels, [&](long begin, long end) {
    for (long first = begin; first < end; first += group) {
      for (long k = 0; k < n; k += depth) {
        const long here = std::min(depth, n - k);
        for (long j = first; j < std::min(first + group, end); ++j) {
          Scratch of_panel;
          const Word* b = right_side(t, part(right, j, k), here, of_panel);
          for (long i = 0; i < left_panels; ++i) {
            const Word* a =
                turned ? turned + (k / depth * left_panels + i) * kPanel * ld : part(left, i, k);
            t.k.gemm(a, turned ? ld : 1, turned ? 1 : kPanel, kPanel, b, t.words(here),
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
