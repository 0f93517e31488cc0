#pragma once

#include "trm/models/input_output.h"

namespace trm {

/// The Tiny Recursive Model (arXiv 2510.04871, figure 3): one network improves the latent reasoning
/// z_L, then the answer z_H. Only the last of the H_cycles has a gradient.
struct TRM {
  Buffer H_init, L_init;  // (D)
  InputOutput io;
  ReasoningModule L_level;
  int H_cycles, L_cycles;

  static std::vector<std::string> latent_names() { return {"z_H", "z_L"}; }
  Latents initial() const { return {H_init.value, L_init.value}; }
  Latents without_gradient(Latents z, const mx::array& x) const;
  Latents with_gradient(Latents z, const mx::array& x) const;
  /// `cycles` times: L_cycles times z_L = net(z_L, z_H + x), then z_H = net(z_H, z_L).
  Latents recursion(const Latents& z, const mx::array& x, int cycles) const;
  Latents network_by_network(const Latents& z, const mx::array& x, int cycles) const;

  static void fields(auto& m, auto&& f) {
    f("H_init", m.H_init);
    f("L_init", m.L_init);
    InputOutput::fields(m.io, f);
    f("L_level", m.L_level);
  }
};

TRM make_trm(const ArchConfig& config, const DataShape& shape, KeySequence& keys);

}  // namespace trm
