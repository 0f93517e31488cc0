#pragma once

#include "trm/models/input_output.h"

namespace trm {

/// The Hierarchical Reasoning Model (arXiv 2506.21734): a slow network for z_H, a fast one for z_L;
/// gradient only through the last call of each.
struct HRM {
  Buffer H_init, L_init;  // (D)
  InputOutput io;
  ReasoningModule H_level, L_level;
  int H_cycles, L_cycles;

  static std::vector<std::string> latent_names() { return {"z_H", "z_L"}; }
  Latents initial() const { return {H_init.value, L_init.value}; }
  Latents without_gradient(Latents z, const mx::array& x) const;
  Latents with_gradient(Latents z, const mx::array& x) const;

  static void fields(auto& m, auto&& f) {
    f("H_init", m.H_init);
    f("L_init", m.L_init);
    InputOutput::fields(m.io, f);
    f("H_level", m.H_level);
    f("L_level", m.L_level);
  }
};

HRM make_hrm(const ArchConfig& config, const DataShape& shape, KeySequence& keys);

}  // namespace trm
