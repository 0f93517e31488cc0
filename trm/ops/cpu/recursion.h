// The recursion of a TRM without gradient, whole: weights are packed once, and each sample (or each
// part of it, where there are fewer samples than threads) goes through every cycle in the caches.
#pragma once

#include <optional>
#include <vector>

#include "trm/ops/cpu/attention.h"
#include "trm/ops/cpu/feed_forward.h"
#include "trm/ops/cpu/token_mixing.h"

namespace trm::ops::cpu {

/// One layer: token mixing or attention, then the feed-forward.
struct Layer {
  std::optional<TokenMixing> tokens;
  std::optional<Attention> attention;
  FeedForward channels;

  /// weights: mix_in, mix_out, gate_up and down.
  void pack_forward(const float* const* weights, Scratch& scratch);
  /// Whether a gradient finds the gates and ups kept. Attention leaves no room for them in a third
  /// of PyTorch's memory, so they are computed again.
  bool keeps_gates() const { return tokens.has_value(); }
  /// What the gradient needs.
  void pack_backward(const float* const* weights, Scratch& scratch);
};

class Recursion {
 public:
  Recursion(const Type& type, int tokens, int hidden, std::vector<Layer> layers)
      : t_(type), tokens_(tokens), hidden_(hidden), layers_(std::move(layers)) {}

  /// `cycles` times: L_cycles times z_L = net(z_L + z_H + x), then z_H = net(z_H + z_L).
  /// z_H, z_L (batch, tokens, hidden) are replaced.
  void run(void* z_H, void* z_L, const void* x, long batch, int cycles, int L_cycles) const;

 private:
  long sample() const { return static_cast<long>(tokens_) * hidden_; }
  void run_samples(void* z_H, void* z_L, const void* x, long count, int cycles, int L_cycles) const;
  void run_together(void* z_H, void* z_L, const void* x, long batch, int cycles,
                    int L_cycles) const;

  Type t_;
  int tokens_, hidden_;
  std::vector<Layer> layers_;
};

}  // namespace trm::ops::cpu
