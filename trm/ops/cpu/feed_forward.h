// RMS(h + down·(silu(gate·h) * up·h)) along the hidden axis, on plain memory.
#pragma once

#include "trm/ops/cpu/layout.h"

namespace trm::ops::cpu {

/// The weights are packed into a Scratch of the caller, who keeps it as long as this.
class FeedForward {
 public:
  /// gate_up (2*inner, hidden), down (hidden, inner), float. hidden is even when T is bfloat16.
  FeedForward(const Type& type, int hidden, int inner, float eps)
      : t_(type), hidden_(hidden), inner_(inner), eps_(eps) {}

  void pack_forward(const float* gate_up, const float* down, Scratch& scratch);
  /// What the gradient needs, with the gates kept or not.
  void pack_backward(const float* gate_up, const float* down, bool kept, Scratch& scratch);

  /// h (rows, hidden) -> y, and 1/RMS of each row. All rows, in parallel. Keeps the gates and ups
  /// for the gradient unless null: gates_size(rows) elements of T.
  void forward(const void* h, long rows, void* y, float* inv, void* gates) const;
  /// The same by the calling thread only, keeping nothing.
  void forward_rows(const void* h, long rows, void* y, float* inv) const {
    forward_rows(h, rows, y, inv, {});
  }
  long gates_size(long rows) const { return padded_inner() * 2 * rows; }

  /// dh, which may be dy, and the gradients of the weights as sums_size() floats, set or added to;
  /// unpack() brings those into the layout of the weights. What forward() did not keep is computed
  /// again. Needs pack_backward().
  void backward(const void* h, const void* y, const float* inv, const void* gates, const void* dy,
                long rows, void* dh, float* sums, bool accumulate) const;
  long sums_size() const { return 3 * padded_inner() * hidden_panels() * kPanel; }
  void unpack(const float* sums, float* dgate_up, float* ddown) const;

 private:
  // Kept gates and ups from some row on: a panel of gates_ after the other, (rows, 32) each.
  struct Gates {
    void* data = nullptr;
    long rows = 0;
  };
  void* gates_at(const Gates& gates, long panel, long row) const {
    return t_.at(gates.data, (panel * gates.rows + row) * kPanel);
  }
  void forward_rows(const void* h, long rows, void* y, float* inv, const Gates& gates) const;
  struct Chunk;
  void backward_rows(const Chunk& chunk, long first_word, long words) const;

  long hidden_panels() const { return ceil_div(hidden_, kPanel); }
  long inner_panels() const { return ceil_div(inner_, kPanel); }
  long padded_inner() const { return inner_panels() * kPanel; }
  void pack_gates(const Rows& gate_up, Scratch& scratch);

  Type t_;
  int hidden_, inner_;
  float eps_;
  Word* gates_ = nullptr;       // panel j: 16 gates and 16 ups from 16j on, k = hidden
  Word* down_ = nullptr;        // panels of hidden columns, k = inner
  Word* down_back_ = nullptr;   // panels of inner columns, k = hidden
  Word* gates_back_ = nullptr;  // panels of hidden columns, k in the column order of gates_
};

}  // namespace trm::ops::cpu
