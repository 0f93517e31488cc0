// RMS(h + down·(silu(gate·h) * up·h)) along the token axis, on plain memory: no transposes, since a
// block of 32 channels goes through both products, the norm and its gradient by itself.
#pragma once

#include "trm/ops/cpu/layout.h"

namespace trm::ops::cpu {

/// The weights are laid out in a Scratch of the caller, who keeps it as long as this.
class TokenMixing {
 public:
  /// gate_up (2*inner, tokens), down (tokens, inner), float; h (…, tokens, hidden). hidden is even
  /// when T is bfloat16.
  TokenMixing(const Type& type, int tokens, int hidden, int inner, float eps)
      : t_(type), tokens_(tokens), hidden_(hidden), inner_(inner), eps_(eps) {}

  void pack_forward(const float* gate_up, const float* down, Scratch& scratch);
  /// What the gradient needs.
  void pack_backward(const float* gate_up, const float* down, Scratch& scratch);

  /// h (batch, tokens, hidden) -> y, and 1/RMS (batch, hidden). In parallel.
  void forward(const void* h, long batch, void* y, float* inv) const;
  /// Channels panel*32 … of one sample, by the calling thread.
  void forward_panel(const void* h, long panel, void* y, float* inv) const;
  long panels() const { return ceil_div(hidden_, kPanel); }

  /// dh, which may be dy, and the gradients of the weights as sums_size() floats, set or added to;
  /// unpack() brings those into the layout of the weights. Inner activations are computed again.
  void backward(const void* h, const void* y, const float* inv, const void* dy, long batch,
                void* dh, float* sums, bool accumulate) const;
  long sums_size() const { return 3L * inner_ * token_panels() * kPanel; }
  void unpack(const float* sums, float* dgate_up, float* ddown) const;

 private:
  struct Sample;
  void backward_panel(const Sample& sample, long panel) const;
  void weight_gradients(const Sample* samples, long count, float* dgate_up, float* ddown,
                        bool accumulate) const;

  const void* gate_row(long i) const { return gate_up_.row(t_, i); }
  const void* up_row(long i) const { return gate_up_.row(t_, inner_ + i); }
  long token_words() const { return t_.whole_words(tokens_); }
  // The words of a panel past the last token.
  void zero_rest(Word* panel) const {
    std::fill(panel + t_.words(tokens_) * kPanel, panel + token_words() * kPanel, 0.0f);
  }
  long even_inner() const { return round_up(inner_, t_.per_word); }
  long padded_hidden() const { return panels() * kPanel; }
  long hidden_room() const { return t_.room(padded_hidden()); }
  long hidden_words() const { return t_.room_words(padded_hidden()); }
  long token_panels() const { return ceil_div(tokens_, kPanel); }

  Type t_;
  int tokens_, hidden_, inner_;
  float eps_;
  Rows gate_up_{};       // (2*inner, tokens)
  Rows down_{};          // (tokens, inner)
  Rows down_back_{};     // (inner, tokens)
  Rows gate_up_back_{};  // (tokens, even inner of gates | even inner of ups)
};

}  // namespace trm::ops::cpu
