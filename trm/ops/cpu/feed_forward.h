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
  /// Also what the gradient needs.
  void pack_backward(const float* gate_up, const float* down, Scratch& scratch);

  /// h (rows, hidden) -> y, and 1/RMS of each row. All rows, in parallel.
  void forward(const void* h, long rows, void* y, float* inv) const;
  /// The same by the calling thread only.
  void forward_rows(const void* h, long rows, void* y, float* inv) const;

  /// dh, and the gradients of the weights in their own layout, by recomputing what forward() did
  /// not keep. Needs pack_backward().
  void backward(const void* h, const void* y, const float* inv, const void* dy, long rows, void* dh,
                float* dgate_up, float* ddown) const;

 private:
  struct Chunk;
  void backward_rows(const Chunk& chunk, long first_pair, long pairs) const;
  void unpack(const float* dgate_up_panels, const float* ddown_panels, float* dgate_up,
              float* ddown) const;

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
