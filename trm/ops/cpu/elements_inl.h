// The kernels of kernels.h that go over elements: sums, norms, gates, rotation, softmax, the
// optimizer. Included by kernels_inl.h only.
#pragma once

#include "trm/ops/cpu/vectors_inl.h"

namespace trm::ops::cpu {
namespace {

template <bool BF>
void add(const void* a, const void* b, const void* c, long n, void* out) {
  for (long i = 0; i < n; i += W) {
    int some = n - i < W ? static_cast<int>(n - i) : W;
    V v = get_some<BF>(a, i, some) + get_some<BF>(b, i, some);
    if (c) v += get_some<BF>(c, i, some);
    put_some<BF>(out, i, some, v);
  }
}

template <bool BF>
void narrow(const float* in, void* out, long n) {
  for (long i = 0; i < n; i += W) {
    int some = n - i < W ? static_cast<int>(n - i) : W;
    put_some<BF>(out, i, some, get_some<false>(in, i, some));
  }
}

template <bool BF>
void widen(const void* in, float* out, long n) {
  for (long i = 0; i < n; i += W) {
    int some = n - i < W ? static_cast<int>(n - i) : W;
    put_some<false>(out, i, some, get_some<BF>(in, i, some));
  }
}

template <bool BF>
void add_residual(const float* c, const void* h, long ldh, int rows, int width, float* s,
                  long lds) {
  for (int m = 0; m < rows; ++m) {
    for (int n = 0; n < width; n += W) {
      V v = get_some<BF>(h, m * ldh + n, width - n) + load(c + m * kPanel + n);
      put_some<false>(s, m * lds + n, width - n, v);
    }
  }
}

template <bool BF>
void norm_rows(const float* s, long lds, int rows, int n, float eps, void* y, long ldy,
               float* inv) {
  for (int m = 0; m < rows; ++m) {
    const float* row = s + m * lds;
    V squares = V{};
    for (int i = 0; i < n; i += W) {
      V v = get_some<false>(row, i, n - i);
      squares = v * v + squares;
    }
    float scale = 1.0f / __builtin_sqrtf(sum(squares) / static_cast<float>(n) + eps);
    inv[m] = scale;
    for (int i = 0; i < n; i += W) {
      put_some<BF>(y, m * ldy + i, n - i, get_some<false>(row, i, n - i) * scale);
    }
  }
}

template <bool BF>
void norm_columns(const float* s, int n, int width, float eps, void* y, long ldy, float* inv) {
  for (int i = 0; i < width; i += W) {
    V squares = V{};
    for (int m = 0; m < n; ++m) {
      V v = load(s + m * kPanel + i);
      squares = v * v + squares;
    }
    V scale = 1.0f / sqrt_(squares / static_cast<float>(n) + eps);
    put_some<false>(inv, i, width - i, scale);
    for (int m = 0; m < n; ++m) {
      put_some<BF>(y, m * ldy + i, width - i, load(s + m * kPanel + i) * scale);
    }
  }
}

template <bool BF>
void norm_rows_backward(const void* dy, const void* y, long ld, const float* inv, int rows, int n,
                        float* ds, long lds) {
  for (int m = 0; m < rows; ++m) {
    V dot = V{};
    for (int i = 0; i < n; i += W) {
      dot = get_some<BF>(dy, m * ld + i, n - i) * get_some<BF>(y, m * ld + i, n - i) + dot;
    }
    float mean = sum(dot) / static_cast<float>(n);
    for (int i = 0; i < n; i += W) {
      V v = get_some<BF>(dy, m * ld + i, n - i) - get_some<BF>(y, m * ld + i, n - i) * mean;
      put_some<false>(ds, m * lds + i, n - i, v * inv[m]);
    }
  }
}

template <bool BF>
void norm_columns_backward(const void* dy, const void* y, long ld, const float* inv, int n,
                           int width, float* ds) {
  for (int i = 0; i < kPanel; i += W) {
    int some = width - i < 0 ? 0 : width - i;
    V dot = V{};
    for (int m = 0; m < n; ++m) {
      dot = get_some<BF>(dy, m * ld + i, some) * get_some<BF>(y, m * ld + i, some) + dot;
    }
    V mean = dot / static_cast<float>(n), scale = get_some<false>(inv, i, some);
    for (int m = 0; m < n; ++m) {
      V v = get_some<BF>(dy, m * ld + i, some) - get_some<BF>(y, m * ld + i, some) * mean;
      store(ds + m * kPanel + i, v * scale);
    }
  }
}

template <bool BF>
void add_blocks(const float* a, long lda, const float* b, long ldb, int rows, int width, void* out,
                long ldo) {
  for (int m = 0; m < rows; ++m) {
    for (int n = 0; n < width; n += W) {
      V v = get_some<false>(a, m * lda + n, width - n) + get_some<false>(b, m * ldb + n, width - n);
      put_some<BF>(out, m * ldo + n, width - n, v);
    }
  }
}

template <bool BF>
void gate_columns(const float* c, int rows, void* act, long ld) {
  for (int m = 0; m < rows; ++m) {
    for (int n = 0; n < kPair; n += W) {
      V gate = load(c + m * kPanel + n), up = load(c + m * kPanel + kPair + n);
      put<BF>(act, m * ld + n, gate * sigmoid<BF>(gate) * up);
    }
  }
}

template <bool BF>
void gate_rows(const float* gate, const float* up, int rows, Word* act) {
  const int step = BF ? 2 : 1;
  for (int m = 0; m < rows; m += step) {
    for (int n = 0; n < kPanel; n += W) {
      long at = m * kPanel + n;
      V g = load(gate + at);
      V out = g * sigmoid<BF>(g) * load(up + at);
      if constexpr (BF) {
        V g1 = load(gate + at + kPanel);
        out = pair_word(out, g1 * sigmoid<BF>(g1) * load(up + at + kPanel));
      }
      store(act + m / step * kPanel + n, out);
    }
  }
}

struct Gate {
  V act, dgate, dup;
};
template <bool BF>
inline Gate gate_backward(V dact, V gate, V up) {
  V s = sigmoid<BF>(gate);
  V silu = gate * s;
  return {silu * up, dact * up * (s + silu * (1.0f - s)), dact * silu};
}

template <bool BF>
void gate_columns_backward(const float* dact, const float* c, int rows, void* dc, long ld,
                           Word* dc_panel, Word* act_panel) {
  const int step = BF ? 2 : 1;
  for (int m = 0; m < rows; m += step) {
    Word* dp = dc_panel + m / step * kPanel;
    Word* ap = act_panel + m / step * kPanel;
    for (int n = 0; n < kPair; n += W) {
      long at = m * kPanel + n;
      Gate g = gate_backward<BF>(load(dact + at), load(c + at), load(c + at + kPair));
      put<BF>(dc, m * ld + n, g.dgate);
      put<BF>(dc, m * ld + kPair + n, g.dup);
      if constexpr (BF) {
        at += kPanel;
        Gate h = gate_backward<BF>(load(dact + at), load(c + at), load(c + at + kPair));
        put<BF>(dc, (m + 1) * ld + n, h.dgate);
        put<BF>(dc, (m + 1) * ld + kPair + n, h.dup);
        g = {pair_word(g.act, h.act), pair_word(g.dgate, h.dgate), pair_word(g.dup, h.dup)};
      }
      store(dp + n, g.dgate);
      store(dp + kPair + n, g.dup);
      store(ap + n, g.act);
    }
  }
}

template <bool BF>
void gate_rows_backward(const float* dact, const float* gate, const float* up, int rows,
                        Word* dgate_panel, Word* dup_panel, void* dgate, void* dup, void* act,
                        long ld) {
  const int step = BF ? 2 : 1;
  for (int m = 0; m < rows; m += step) {
    for (int n = 0; n < kPanel; n += W) {
      long at = m * kPanel + n;
      Gate g = gate_backward<BF>(load(dact + at), load(gate + at), load(up + at));
      put<BF>(dgate, m * ld + n, g.dgate);
      put<BF>(dup, m * ld + n, g.dup);
      put<BF>(act, m * ld + n, g.act);
      if constexpr (BF) {
        at += kPanel;
        Gate h = gate_backward<BF>(load(dact + at), load(gate + at), load(up + at));
        put<BF>(dgate, (m + 1) * ld + n, h.dgate);
        put<BF>(dup, (m + 1) * ld + n, h.dup);
        put<BF>(act, (m + 1) * ld + n, h.act);
        g = {g.act, pair_word(g.dgate, h.dgate), pair_word(g.dup, h.dup)};
      }
      store(dgate_panel + m / step * kPanel + n, g.dgate);
      store(dup_panel + m / step * kPanel + n, g.dup);
    }
  }
}

template <bool BF>
void rotate(const void* in, const float* cos, const float* sin, int half, void* out) {
  for (int i = 0; i < half; i += W) {
    int n = half - i;
    V a = get_some<BF>(in, i, n), b = get_some<BF>(in, half + i, n);
    V c = get_some<false>(cos, i, n), s = get_some<false>(sin, i, n);
    put_some<BF>(out, i, n, a * c - b * s);
    put_some<BF>(out, half + i, n, b * c + a * s);
  }
}

template <bool BF>
void rotate_back(const float* in, const float* cos, const float* sin, int half, void* out) {
  for (int i = 0; i < half; i += W) {
    int n = half - i;
    V a = get_some<false>(in, i, n), b = get_some<false>(in, half + i, n);
    V c = get_some<false>(cos, i, n), s = get_some<false>(sin, i, n);
    put_some<BF>(out, i, n, a * c + b * s);
    put_some<BF>(out, half + i, n, b * c - a * s);
  }
}

template <bool BF>
void softmax_rows(const float* s, long lds, int rows, int n, float scale, void* p, long ldp,
                  float* inv_sum, float* log_sum) {
  for (int m = 0; m < rows; ++m) {
    const float* row = s + m * lds;
    V top = splat(row[0]);
    int i = 0;
    for (; i + W <= n; i += W) {
      V v = load(row + i);
      top = v > top ? v : top;
    }
    float most = top[0];
    for (int j = 1; j < W; ++j) most = top[j] > most ? top[j] : most;
    for (; i < n; ++i) most = row[i] > most ? row[i] : most;
    V total = V{};
    for (i = 0; i + W <= n; i += W) {
      V e = exp_<BF>((load(row + i) - most) * scale);
      total += e;
      put<BF>(p, m * ldp + i, e);
    }
    if (i < n) {
      V e = exp_<BF>((get_some<false>(row, i, n - i) - most) * scale);
      for (int j = n - i; j < W; ++j) e[j] = 0;
      total += e;
      put_some<BF>(p, m * ldp + i, n - i, e);
    }
    if (BF && n % 2) static_cast<Half*>(p)[m * ldp + n] = 0;
    float all = sum(total);
    inv_sum[m] = 1.0f / all;
    log_sum[m] = most * scale + __builtin_logf(all);
  }
}

template <bool BF>
void scale_rows(const float* c, const float* factor, int rows, int width, void* out, long ldo) {
  for (int m = 0; m < rows; ++m) {
    for (int n = 0; n < width; n += W) {
      put_some<BF>(out, m * ldo + n, width - n, load(c + m * kPanel + n) * factor[m]);
    }
  }
}

template <bool BF>
void dot_rows(const void* a, const void* b, long ld, int rows, int n, float* out) {
  for (int m = 0; m < rows; ++m) {
    V dot = V{};
    for (int i = 0; i < n; i += W) {
      dot = get_some<BF>(a, m * ld + i, n - i) * get_some<BF>(b, m * ld + i, n - i) + dot;
    }
    out[m] = sum(dot);
  }
}

template <bool BF>
void softmax_backward(const float* s, const float* dp, int rows, float scale, const float* log_sum,
                      const float* delta, Word* p_panel, Word* ds_panel, void* ds, long ld) {
  const int step = BF ? 2 : 1;
  for (int m = 0; m < rows; m += step) {
    for (int n = 0; n < kPanel; n += W) {
      long at = m * kPanel + n, to = m / step * kPanel + n;
      V p = exp_<BF>(load(s + at) * scale - log_sum[m]);
      V d = p * (load(dp + at) - delta[m]) * scale;
      put<BF>(ds, m * ld + n, d);
      if constexpr (BF) {
        at += kPanel;
        V p1 = exp_<BF>(load(s + at) * scale - log_sum[m + 1]);
        V d1 = p1 * (load(dp + at) - delta[m + 1]) * scale;
        put<BF>(ds, (m + 1) * ld + n, d1);
        p = pair_word(p, p1);
        d = pair_word(d, d1);
      }
      store(p_panel + to, p);
      store(ds_panel + to, d);
    }
  }
}

void adam_atan2(const AdamStep& s, long begin, long end) {
  for (long i = begin; i < end; i += W) {
    int n = end - i < W ? static_cast<int>(end - i) : W;
    V g = get_some<false>(s.g, i, n);
    V m = get_some<false>(s.m, i, n), v = get_some<false>(s.v, i, n);
    m = (g - m) * s.one_minus_beta1 + m;
    v = (g * g - v) * s.one_minus_beta2 + v;
    V turn = atan2_right(m, sqrt_(v) * s.inv_sqrt_bias2);
    V p = get_some<false>(s.p, i, n) * s.decay - turn * s.step_size;
    if (s.average) {
      V average = get_some<false>(s.average, i, n);
      put_some<false>(s.average_out, i, n, p * s.one_minus_rate + average * s.rate);
    }
    put_some<false>(s.p_out, i, n, p);
    put_some<false>(s.m_out, i, n, m);
    put_some<false>(s.v_out, i, n, v);
  }
}

}  // namespace
}  // namespace trm::ops::cpu
