#include "trm/ops/cpu/layout.h"

#include <cstring>

namespace trm::ops::cpu {

Rows narrow_rows(const Type& t, const float* weight, long rows, long n, Scratch& scratch) {
  if (t.per_word == 1) return {weight, n};
  long ld = round_up(n, t.per_word);
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

}  // namespace trm::ops::cpu
