// Element type, its kernels, and weights brought into the layouts of kernels.h.
#pragma once

#include <algorithm>

#include "trm/ops/cpu/kernels.h"
#include "trm/ops/cpu/threads.h"

namespace trm::ops::cpu {

constexpr long ceil_div(long a, long b) { return (a + b - 1) / b; }
constexpr long round_up(long a, long b) { return ceil_div(a, b) * b; }

/// An element type T: float, or bfloat16.
struct Type {
  explicit Type(bool bfloat16) : Type(bfloat16, kernels(bfloat16)) {}
  /// By another table than the chosen one.
  Type(bool bfloat16, const Kernels& table)
      : k(table), size(bfloat16 ? 2 : 4), per_word(bfloat16 ? 2 : 1) {}

  const Kernels& k;
  int size;      // bytes of an element
  int per_word;  // elements of a word that is not split

  /// Words of n elements along k.
  long plain_words(long n) const { return ceil_div(n, per_word); }
  /// The same of a side of products.
  long words(long n) const { return k.split_rows ? split_words(n) : plain_words(n); }
  /// words(n) up to a multiple of what gemm likes.
  long whole_words(long n) const { return round_up(words(n), k.whole_words); }
  /// Words' room for n elements that become a side of products where they are.
  long room_words(long n) const {
    return k.split_rows ? odd_lines(std::max(plain_words(n), words(n))) : whole_words(n);
  }
  /// Elements' room for a row of those.
  long room(long n) const { return room_words(n) * per_word; }
  const void* at(const void* p, long i) const { return static_cast<const char*>(p) + i * size; }
  void* at(void* p, long i) const { return static_cast<char*>(p) + i * size; }
};

/// T rows, `ld` elements apart.
struct Rows {
  const void* data;
  long ld;
  const Word* row(const Type& t, long r) const {
    return static_cast<const Word*>(t.at(data, r * ld));
  }
  Rows from(const Type& t, long r) const { return {row(t, r), ld}; }
};

/// c (rows, 32; row stride ldc) = or += the first `rows` of left, a left side, · panel.
inline void multiply(const Type& t, const Rows& left, long rows, const Word* panel, long k_words,
                     float* c, long ldc, int columns, bool accumulate = false) {
  t.k.gemm(left.row(t, 0), left.ld / t.per_word, 1, static_cast<int>(rows), panel, k_words, c, ldc,
           columns, accumulate);
}

/// n elements of each row as the left side of products: the rows themselves, or a split copy.
Rows left_side(const Type& t, const Rows& rows, long count, long n, Scratch& scratch);
/// The same in place, in rows with room(n).
Rows left_side(const Type& t, void* rows, long ld, long count, long n);
/// A panel of n elements along k as the right side of products: itself, or a split copy.
const Word* right_side(const Type& t, const Word* panel, long n, Scratch& scratch);
/// The same in place, in a panel with room_words(n).
void make_right_side(const Type& t, Word* panel, long n);

/// The right side of products from n elements along k: panel[k] = rows[k] from column `first` on,
/// or a float block's rows, or panel[.., j] = columns[j]. words(n) words.
void column_panel(const Type& t, const void* const* rows, long n, long first, int width,
                  Word* panel);
void block_panel(const Type& t, const float* block, long ld, long n, Word* panel);
void row_panel(const Type& t, const void* const* columns, long n, Word* panel);

/// weight (rows, n) itself when T is float, else a copy in `scratch`, ld = room(n). In parallel.
Rows narrow_rows(const Type& t, const float* weight, long rows, long n, Scratch& scratch);

/// weight (n, columns) transposed, as T.
Rows narrow_transposed(const Type& t, const float* weight, long n, long columns, Scratch& scratch);

/// Panels of B with column n = weight row n: for products x · weight^T. k = n of narrow_rows.
Word* pack_rows(const Type& t, const Rows& weight, long rows, long n, Scratch& scratch);

/// Panels of B = the matrix of these T rows (k, columns): for products x · weight.
Word* pack_columns(const Type& t, const void* const* rows, long k, long columns, Scratch& scratch);

/// Pointers to `count` T rows `ld` elements apart; `whole` >= count pointers, the rest null.
const void** row_pointers(const Type& t, const void* first, long ld, long count, long whole,
                          Scratch& scratch);

/// c[j] (left panels*32, 32) = or += left^T · right[j] for each panel j of right, which have n
/// elements along k and are not split: the gradient of a weight, as panels. In parallel.
void panel_products(const Type& t, const Word* left, long left_panels, const Word* right,
                    long right_panels, long n, float* c, bool accumulate);

/// The result of panel_products, or a part of it, as a row-major (rows, columns) matrix.
void unpack_panels(const float* c, long left_panels, long rows, long columns, float* out);
/// The same turned: out (columns, rows).
void unpack_panels_turned(const float* c, long left_panels, long rows, long columns, float* out);

}  // namespace trm::ops::cpu
