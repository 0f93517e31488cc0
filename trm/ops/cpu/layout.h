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
  explicit Type(bool bfloat16)
      : k(kernels(bfloat16)), size(bfloat16 ? 2 : 4), per_word(bfloat16 ? 2 : 1) {}

  const Kernels& k;
  int size;      // bytes of an element
  int per_word;  // elements of a word

  long words(long n) const { return ceil_div(n, per_word); }
  const void* at(const void* p, long i) const { return static_cast<const char*>(p) + i * size; }
  void* at(void* p, long i) const { return static_cast<char*>(p) + i * size; }
};

/// A float matrix as T, row stride `ld` elements: rounded up to whole words, padded with zeros.
struct Rows {
  const void* data;
  long ld;
  const Word* row(const Type& t, long r) const {
    return static_cast<const Word*>(t.at(data, r * ld));
  }
};

/// weight (rows, n) itself when T is float, else a copy in `scratch`. In parallel.
Rows narrow_rows(const Type& t, const float* weight, long rows, long n, Scratch& scratch);

/// weight (n, columns) transposed, as T.
Rows narrow_transposed(const Type& t, const float* weight, long n, long columns, Scratch& scratch);

}  // namespace trm::ops::cpu
