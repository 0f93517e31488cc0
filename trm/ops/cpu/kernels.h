// The inner loops of the CPU operations, one table for each instruction set and element type,
// chosen when the program starts. Everything above them (which block next, which thread) is written
// once, in terms of two layouts of a matrix:
//
//   rows    (m, k) at a[m*row_stride + k]: a row-major array read along k, without a copy;
//   panels  32 columns side by side: (k, n) at panel[k*32 + n], columns past the edge are zero.
//
// k counts words. A word is a float, or two bfloat16 neighbours along k (the first in the low
// half), which is what one multiply instruction takes; an odd k ends in a zero.
//
// Where only products of small integers are fast, floats are split. The largest value of a row (or
// of a column of a panel) becomes 127*65536; every other one, by the same factor, an integer of 24
// bits that is cut into three signed bytes, first*65536 + second*256 + third. 64 elements along k,
// zeros past the last, become 48 words: 16 of first bytes, 16 of second, 16 of third ones, where
// word i holds those of elements i, 16+i, 32+i and 48+i. After the last of them stands the unit,
// what 65536 is worth.
#pragma once

#include <cstdint>

namespace trm::ops::cpu {

typedef float Word __attribute__((may_alias));

constexpr int kPanel = 32;  // columns of a panel
constexpr int kPair = 16;   // columns of gate, then of up, in a panel that holds both

/// Words along k of n split floats, with the unit and padding.
constexpr long split_words(long n) { return (n + 63) / 64 * 48 + 16; }

/// One step of ops::adam_atan2 on arrays of floats. An output may be its input.
struct AdamStep {
  const float *p, *g, *m, *v, *average;  // average: null without one
  float *p_out, *m_out, *v_out, *average_out;
  float decay, step_size, inv_sqrt_bias2, one_minus_beta1, one_minus_beta2, rate, one_minus_rate;
};

/// T below is the table's element type, float or bfloat16 bits; pointers to it are void. ld and
/// strides of T arrays count elements, those of words count words.
struct Kernels {
  const char* name;

  /// c (rows, 32; row stride ldc) = or += a (rows, k) · panel (k, 32). Element (m, k) of a is at
  /// a[m*row_stride + k*k_stride]. Only the first `columns` of c are needed.
  void (*gemm)(const Word* a, long row_stride, long k_stride, int rows, const Word* panel,
               long k_words, float* c, long ldc, int columns, bool accumulate);

  /// out = a + b (+ c unless null), summed as floats.
  void (*add)(const void* a, const void* b, const void* c, long n, void* out);
  /// float -> T.
  void (*narrow)(const float* in, void* out, long n);
  /// T -> float.
  void (*widen)(const void* in, float* out, long n);

  /// Panel whose column n is the T row columns[n] (null: zeros), read as k_words words.
  void (*pack_rows)(const void* const* columns, long k_words, Word* panel);
  /// Panel whose k-th element row is `width` elements of rows[k] (null: zeros) from `first` on.
  void (*pack_columns)(const void* const* rows, long k, long first, int width, Word* panel);
  /// The same from a float block (k, 32; row stride ld).
  void (*pack_block)(const float* block, long ld, long k, Word* panel);

  /// s (rows, width) = c + h, float; c has row stride 32.
  void (*add_residual)(const float* c, const void* h, long ldh, int rows, int width, float* s,
                       long lds);
  /// y = s * inv, inv = 1/sqrt(mean(s^2) + eps) of each row of n.
  void (*norm_rows)(const float* s, long lds, int rows, int n, float eps, void* y, long ldy,
                    float* inv);
  /// The same down the columns of a block (n, 32).
  void (*norm_columns)(const float* s, int n, int width, float eps, void* y, long ldy, float* inv);
  /// ds = inv * (dy - y * mean(dy*y)) for each row.
  void (*norm_rows_backward)(const void* dy, const void* y, long ld, const float* inv, int rows,
                             int n, float* ds, long lds);
  /// The same down the columns; the columns of ds (n, 32) past `width` are set to zero.
  void (*norm_columns_backward)(const void* dy, const void* y, long ld, const float* inv, int n,
                                int width, float* ds);
  /// out = a + b, with a and b float blocks of these row strides.
  void (*add_blocks)(const float* a, long lda, const float* b, long ldb, int rows, int width,
                     void* out, long ldo);

  /// act = silu(gate)*up, from blocks (rows, 16 gates | 16 ups) to 16 columns of a T array.
  void (*gate_columns)(const float* c, int rows, void* act, long ld);
  /// The same with gate and up in blocks (rows, 32) of their own, to a panel with k = rows (even).
  void (*gate_rows)(const float* gate, const float* up, int rows, Word* act);
  /// Gradient of gate_columns. dact (rows, 16; row stride 32). Writes d(gate|up) as 32 columns of a
  /// T array and as a panel with k = rows (even), and act as 16 columns of such a panel.
  void (*gate_columns_backward)(const float* dact, const float* c, int rows, void* dc, long ld,
                                Word* dc_panel, Word* act_panel);
  /// Gradient of gate_rows: d(gate) and d(up) as panels with k = rows (even) and as T arrays, and
  /// act as a T array, all T arrays 32 columns with row stride ld.
  void (*gate_rows_backward)(const float* dact, const float* gate, const float* up, int rows,
                             Word* dgate_panel, Word* dup_panel, void* dgate, void* dup, void* act,
                             long ld);

  /// Rotary embedding of one T vector of 2*half: (a, b) -> (a*cos - b*sin, b*cos + a*sin).
  void (*rotate)(const void* in, const float* cos, const float* sin, int half, void* out);
  /// Its gradient, which turns back, from floats.
  void (*rotate_back)(const float* in, const float* cos, const float* sin, int half, void* out);
  /// p = exp(scale*s - max) of each row of n, zero up to a whole word; inv_sum = 1/sum of a row,
  /// log_sum = max + log(sum).
  void (*softmax_rows)(const float* s, long lds, int rows, int n, float scale, void* p, long ldp,
                       float* inv_sum, float* log_sum);
  /// out = c * factor[row]; c has row stride 32.
  void (*scale_rows)(const float* c, const float* factor, int rows, int width, void* out, long ldo);
  /// out[row] = sum of a*b over n.
  void (*dot_rows)(const void* a, const void* b, long ld, int rows, int n, float* out);
  /// From blocks (rows, 32) of q·k and of d(p): p = exp(scale*s - log_sum), ds = scale*p*(dp -
  /// delta), as panels with k = rows (even), and ds also as T rows.
  void (*softmax_backward)(const float* s, const float* dp, int rows, float scale,
                           const float* log_sum, const float* delta, Word* p_panel, Word* ds_panel,
                           void* ds, long ld);

  /// Elements begin to end of one optimizer step; the same in both tables.
  void (*adam_atan2)(const AdamStep& step, long begin, long end);

  /// Rows of one pass over packed weights: their activations stay in the second-level cache.
  long pass_rows = 112;
  /// gemm likes k to be a multiple of this, padded with zeros.
  long whole_words = 1;
  /// rows (32, k_words; row stride ld) = the panel (k, 32) turned round. Null where gemm is as fast
  /// with any k_stride; else a left side with k_stride > 1 should be turned once for all its
  /// panels.
  void (*turn)(const Word* panel, long k_words, Word* rows, long ld) = nullptr;
  /// Where gemm takes split floats (else null): n floats of each row to split_words(n) words; `out`
  /// may be `rows`. A row with an infinity or a NaN makes its products NaN.
  void (*split_rows)(const float* rows, long ld, long count, long n, Word* out,
                     long ld_out) = nullptr;
  /// The same for the columns of a panel of n floats along k; `out` may be `panel`.
  void (*split_panel)(const Word* panel, long n, Word* out) = nullptr;
  /// Gives back what gemm holds of the processor; a thread calls it when its work ends. Or null.
  void (*release)() = nullptr;
};

/// The row stride of at least n words that is an odd number of cache lines: it spreads rows over
/// the cache.
constexpr long odd_lines(long n) { return (n + 15) / 32 * 32 + 16; }

/// The fastest table this processor runs, or the one TRM_ISA names (amx, avx512bf16, avx512, avx2,
/// generic) if it runs that. Chosen once.
const Kernels& kernels(bool bfloat16);

/// Puts another pair in its place, [bfloat16], for tests: before any operation.
void use_kernels(const Kernels* pair);

/// Every table this processor runs, fastest first, for tests. Null-terminated.
const Kernels* const* all_kernels(bool bfloat16);

}  // namespace trm::ops::cpu
