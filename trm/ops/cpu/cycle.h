// One cycle of a TRM with its gradient, whole: weights are packed once for all its applications of
// the network, and their gradients are summed where they arise.
#pragma once

#include <vector>

#include "trm/ops/cpu/recursion.h"

namespace trm::ops::cpu {

class Cycle {
 public:
  Cycle(const Type& type, int tokens, int hidden, int L_cycles, std::vector<Layer> layers)
      : t_(type),
        tokens_(tokens),
        hidden_(hidden),
        L_cycles_(L_cycles),
        layers_(std::move(layers)) {}

  /// What one application of the network keeps for its gradient: its input, and of each layer the
  /// outputs of both operations, their norms, and the gates and ups or what attention mixed.
  size_t kept_bytes(long batch) const;
  int applications() const { return L_cycles_ + 1; }

  /// L_cycles times z_L = net(z_L + z_H + x), then z_H = net(z_H + z_L); all (batch, tokens,
  /// hidden). Fills `kept`, applications() times kept_bytes(). Needs Layer::pack_forward().
  void forward(const void* z_H, const void* z_L, const void* x, long batch, void* kept, void* out_H,
               void* out_L) const;

  /// From the gradients of forward()'s results in d_H and d_L those of its arguments, d_H and d_L
  /// anew and dx; and of each layer mix_in, mix_out, gate_up and down. Needs
  /// Layer::pack_backward().
  void backward(void* kept, long batch, void* d_H, void* d_L, void* dx,
                const std::vector<float*>& weights) const;

 private:
  struct OfLayer {
    void *middle, *out, *gates, *mixed;
    float *middle_inv, *inv, *log_sum;
  };
  struct Application {
    void* in;
    std::vector<OfLayer> layers;
  };
  size_t lay_out(void* kept, long batch, Application* out) const;
  Application application(void* kept, long batch, int index) const;
  void network(const Application& a, long batch) const;
  void network_backward(const Application& a, long batch, void* d, float* sums,
                        bool accumulate) const;
  long mixing_sums(const Layer& layer) const;
  void add(const void* a, const void* b, const void* c, long batch, void* out) const;

  Type t_;
  int tokens_, hidden_, L_cycles_;
  std::vector<Layer> layers_;
};

}  // namespace trm::ops::cpu
