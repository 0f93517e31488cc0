// Launches of our CUDA kernels, free of MLX so that nvcc can read it. Every pointer is on the
// device, 16-byte aligned; half means bfloat16. All are asynchronous on `stream` and safe under
// capture. Errors: std::runtime_error with CUDA's own text.
#pragma once

#include <cstdint>

#include <cuda.h>
#include <cuda_runtime.h>

namespace trm::ops::cuda {

using half = uint16_t;  // the bits of a bfloat16

void check(cudaError_t error, const char* where);

// --- rowwise.cu: one pass over memory each ---

/// to (out_rows, out_columns) = from (rows, columns) in bfloat16, zero beyond.
void cast_padded(const float* from, half* to, int rows, int columns, int out_rows, int out_columns,
                 cudaStream_t stream);

/// In place: s becomes y = s * r, r = 1 / sqrt(mean(s^2) + eps) of each row; r may be null. width
/// is a multiple of 256, at most 1024.
void rms_rows(half* s, float* r, int64_t rows, int width, float eps, cudaStream_t stream);

/// ds = r (dy - y mean(dy y)), the gradient of y = RMS(s) along rows.
void rms_rows_backward(const half* y, const half* dy, const float* r, half* ds, int64_t rows,
                       int width, cudaStream_t stream);

/// The same along the tokens of y (batch, tokens, width), r (batch, width); tokens <= 104.
void rms_tokens_backward(const half* y, const half* dy, const float* r, half* ds, int batch,
                         int tokens, int width, cudaStream_t stream);

/// Rotates the q and k parts of qkv (batch * tokens, 3, heads, dim) in place by the tables
/// (tokens, dim/2), by the opposite angle if `inverse`. dim is a multiple of 16.
void rotate(half* qkv, const float* cos, const float* sin, int64_t rows, int tokens, int heads,
            int dim, bool inverse, cudaStream_t stream);

// --- adam_atan2.cu ---

struct AdamArrays {  // of n values each, but for three scalars; an output may be over its input
  const float *p, *g, *m, *v;
  const float *decay, *step_size, *inv_sqrt_bias2;  // null: as in AdamConstants
  const float* average;                             // null without one
  float *p_out, *m_out, *v_out, *average_out;
};
struct AdamConstants {
  float one_minus_beta1, one_minus_beta2, rate, one_minus_rate;
  float decay, step_size, inv_sqrt_bias2;
};

void adam_atan2(const AdamArrays& arrays, const AdamConstants& constants, int64_t n,
                cudaStream_t stream);

// --- attention_short.cu ---

struct ShortAttentionMaps {  // boxes 64 columns wide, 128-byte swizzle
  CUtensorMap qkv;           // (batch, tokens, 3 heads 64), kTokensPadded rows
  CUtensorMap out, dout;     // (batch, tokens, heads 64), kTokensPadded rows
  CUtensorMap dqkv;          // (batch, tokens, 3 heads 64), 64 rows; the last two for backward only
};

/// out = softmax(q k^T / 8) v for at most kTokensMax tokens and heads of 64; stats (batch, heads,
/// tokens), log2 of each query's sum of exponentials, for the gradient unless null.
void short_attention(const ShortAttentionMaps& maps, float* stats, int batch, int tokens, int heads,
                     cudaStream_t stream);

/// dqkv from dout and the forward's stats; with tables (tokens, 32) unless null the gradients of q
/// and k from before their rotation.
void short_attention_backward(const ShortAttentionMaps& maps, const float* cos, const float* sin,
                              const float* stats, int batch, int tokens, int heads,
                              cudaStream_t stream);

// --- attention_long.cu ---

struct LongAttentionMaps {  // boxes 64 columns wide, 128-byte swizzle
  CUtensorMap queries;      // qkv (batch, tokens, 3 heads 64), 64 rows
  CUtensorMap keys;         // the same, 96 rows
  CUtensorMap out;          // (batch, tokens, heads 64), 64 rows
};

/// The same for any number of tokens, with natural logarithms in stats.
void long_attention(const LongAttentionMaps& maps, float* stats, int batch, int tokens, int heads,
                    int processors, cudaStream_t stream);

// --- attention_long_gradient.cu ---

struct LongAttentionGradientMaps {  // boxes of 64 rows and columns, 128-byte swizzle
  CUtensorMap qkv;                  // (batch, tokens, 3 heads 64)
  CUtensorMap out, dout;            // (batch, tokens, heads 64)
  CUtensorMap dqkv;                 // (batch, tokens, 3 heads 64)
};

/// Bytes of scratch.
size_t long_attention_gradient_scratch(int batch, int tokens, int heads);

/// dqkv from dout and long_attention's stats; with tables (tokens, 32) unless null the gradients of
/// q and k from before their rotation. scratch is 16-byte aligned.
void long_attention_gradient(const LongAttentionGradientMaps& maps, const float* cos,
                             const float* sin, const float* stats, void* scratch, int batch,
                             int tokens, int heads, int processors, cudaStream_t stream);

// --- projection.cu ---

struct ProjectionMaps {  // boxes (columns x rows), 128-byte swizzle
  CUtensorMap x;         // (rows, 512), 64 x 128
  CUtensorMap weight;    // (columns, 512) as in weight_map, 4 groups
};

/// out (rows, columns) = x weight^T, its first two thirds of columns (q and k, heads of 64) rotated
/// by the tables (tokens, 32) unless null. x is 512 wide, columns a multiple of 512.
void project_qkv(const ProjectionMaps& maps, half* out, const float* cos, const float* sin,
                 int rows, int tokens, int columns, int processors, cudaStream_t stream);

// --- swiglu.cu ---

struct SwigluMaps {    // boxes (columns x rows), 128-byte swizzle
  CUtensorMap x;       // (rows, 512), 64 x 128
  CUtensorMap weight;  // (2 inner, 512) as in weight_map, 2 groups
};

/// product (rows, inner) = silu(x Wg^T) * (x Wu^T), [Wg; Wu] = weight; unless null also gate_up
/// (rows, 2 inner) = x weight^T. x is 512 wide, inner a multiple of 256.
void swiglu(const SwigluMaps& maps, half* product, half* gate_up, int rows, int inner,
            int processors, cudaStream_t stream);

// --- product_norm.cu ---

struct ProductNormMaps {  // boxes (columns x rows), 128-byte swizzle
  CUtensorMap p;          // (rows, inner), 64 x 128
  CUtensorMap weight;     // (512, inner) as in weight_map, 4 groups
};

/// y = RMS(x + p weight^T) along rows of 512, y may be x's memory; r (rows) = 1/rms unless null.
/// inner is a multiple of 64, at least 192.
void product_norm(const ProductNormMaps& maps, const half* x, half* y, float* r, int rows,
                  int inner, float eps, int processors, cudaStream_t stream);

// --- swiglu_gradient.cu ---

struct SwigluGradientMaps {  // boxes (columns x rows), 128-byte swizzle
  CUtensorMap ds;            // (rows, 512), 64 x 128
  CUtensorMap down;          // (512, inner), 64 x 64
  CUtensorMap gate_up;       // (rows, 2 inner), 64 x 64: [g | u]
  CUtensorMap dgate_up;      // (rows, 2 inner), 64 x 64: [dg | du]
  CUtensorMap product;       // (rows, inner), 64 x 64
};

/// For ds, the gradient of p down^T: [dg | du], the gradients of p = silu(g) u, and p itself. ds is
/// 512 wide, inner a multiple of 256.
void swiglu_gradient(const SwigluGradientMaps& maps, int64_t rows, int inner, int processors,
                     cudaStream_t stream);

// --- token_mixing.cu ---

constexpr int kTokensMax = 104;     // what the kernels' accumulators hold
constexpr int kTokensPadded = 112;  // a multiple of 16: rows of a tile of activations
constexpr int kGateUpPadded = 128;  // columns of gate_up's bfloat16 copy
constexpr int kTokenSplits = 16;    // partial sums of weight gradients: 2 * kTokenSplits

struct TokenMaps {       // boxes, 128-byte swizzle
  CUtensorMap gate_up;   // (2 inner, kGateUpPadded), 64 x 64
  CUtensorMap down;      // (kTokensPadded, inner), 64 x kTokensPadded
  CUtensorMap x, y, ds;  // (batch, tokens, width), 64 x kTokensPadded x 1
};

/// y = RMS(x + down (silu(gate x) * up x)) along tokens; r (batch, width) = 1/rms unless null.
/// width is a multiple of 256, inner of 64.
void token_mixing(const TokenMaps& maps, float* r, int batch, int tokens, int width, int inner,
                  float eps, int processors, cudaStream_t stream);

/// y = ds + the gradient of x through the feed-forward.
void token_mixing_input_gradient(const TokenMaps& maps, int batch, int width, int inner,
                                 int processors, cudaStream_t stream);

// --- token_mixing_weights.cu ---

/// Sums over batch and channels into partial (2 * kTokenSplits, 3 * inner, kTokensMax) float32:
/// rows of gate, of up, of down transposed.
void token_mixing_weight_gradient(const TokenMaps& maps, float* partial, int batch, int width,
                                  int inner, cudaStream_t stream);

/// dgate_up (2 inner, tokens) and ddown (tokens, inner) from those partial sums.
void token_mixing_sum_partials(const float* partial, float* dgate_up, float* ddown, int tokens,
                               int inner, cudaStream_t stream);

}  // namespace trm::ops::cuda
