// RMS(h + o·Attention(qkv·h)) along the hidden axis, on plain memory.
#pragma once

#include "trm/ops/cpu/layout.h"

namespace trm::ops::cpu {

struct AttentionShape {
  int tokens, hidden, heads, head_dim;
  int width() const { return heads * head_dim; }
};

/// The weights are packed into a Scratch of the caller, who keeps it as long as this.
class Attention {
 public:
  /// hidden and head_dim are even when T is bfloat16. cos, sin (tokens, head_dim/2) or null.
  Attention(const Type& type, const AttentionShape& shape, const float* cos, const float* sin,
            float eps)
      : t_(type), a_(shape), cos_(cos), sin_(sin), eps_(eps) {}

  const AttentionShape& shape() const { return a_; }

  /// qkv (3*width, hidden), o (hidden, width), float.
  void pack_forward(const float* qkv, const float* o, Scratch& scratch);
  void pack_backward(const float* qkv, const float* o, Scratch& scratch);

  /// h (batch, tokens, hidden) -> y; kept for the gradient: mixed (batch, tokens, width), inv
  /// (batch, tokens) = 1/RMS, log_sum (batch, heads, tokens) of the softmax. In parallel.
  void forward(const void* h, long batch, void* y, void* mixed, float* inv, float* log_sum) const;
  /// One sample, by the calling thread.
  void forward_sample(const void* h, void* y, float* inv) const;

  /// dh, which may be dy, and the gradients of the weights as sums_size() floats, set or added to;
  /// unpack() brings those into the layout of the weights.
  void backward(const void* h, const void* y, const void* mixed, const float* inv,
                const float* log_sum, const void* dy, long batch, void* dh, float* sums,
                bool accumulate) const;
  long sums_size() const {
    return (qkv_panels() + width_panels()) * hidden_panels() * kPanel * kPanel;
  }
  void unpack(const float* sums, float* dqkv, float* do_) const;

 private:
  // Queries, keys (both rotated) and values of one head: T rows and their strides, the queries as
  // the left side of products, and the panels of tokens (k = head_dim) for products with the keys.
  struct Head {
    const void *q, *k, *v;
    long ld_q, ld_k, ld_v;
    Rows queries;
    const Word* keys;
  };
  struct Round;
  void project(const void* h, long rows, void* qkv) const;
  void mix_head(const void* qkv, int head, void* mixed, float* log_sum) const;
  void output(const void* h, const void* mixed, long rows, void* y, float* inv) const;
  Head open_head(const void* qkv, int head, Scratch& scratch) const;
  void backward_rows(const Round& round, long first_word, long words) const;
  void backward_head(const Round& round, long sample, int head) const;
  void backward_input(const Round& round, long first_word, long words) const;

  long hidden_panels() const { return ceil_div(a_.hidden, kPanel); }
  long width_panels() const { return ceil_div(a_.width(), kPanel); }
  long qkv_panels() const { return ceil_div(3 * a_.width(), kPanel); }
  long token_panels() const { return ceil_div(a_.tokens, kPanel); }
  long head_panels() const { return ceil_div(a_.head_dim, kPanel); }

  Type t_;
  AttentionShape a_;
  const float *cos_, *sin_;
  float eps_;
  Word* qkv_ = nullptr;       // panels of 3*width columns, k = hidden
  Word* o_ = nullptr;         // panels of hidden columns, k = width
  Word* qkv_back_ = nullptr;  // panels of hidden columns, k = 3*width
  Word* o_back_ = nullptr;    // panels of width columns, k = hidden
};

}  // namespace trm::ops::cpu
