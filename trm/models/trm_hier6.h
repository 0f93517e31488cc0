#pragma once

#include "trm/models/input_output.h"

namespace trm {

/// The paper's ablation with six reasoning latents: in turn each z_L[l] becomes
/// net(sum of all z_L + z_H + x), then z_H = net(z_H + sum of all z_L). L_cycles of them are
/// updated.
struct TRMHier6 {
  Buffer H_init;                // (D)
  std::vector<Buffer> L_inits;  // six of (D), named L1_init … L6_init
  InputOutput io;
  ReasoningModule L_level;
  int H_cycles, L_cycles;

  static std::vector<std::string> latent_names() {
    return {"z_H", "z_L1", "z_L2", "z_L3", "z_L4", "z_L5", "z_L6"};
  }
  Latents initial() const;
  Latents without_gradient(Latents z, const mx::array& x) const;
  Latents with_gradient(Latents z, const mx::array& x) const;

  static void fields(auto& m, auto&& f) {
    f("H_init", m.H_init);
    constexpr const char* names[] = {"L1_init", "L2_init", "L3_init",
                                     "L4_init", "L5_init", "L6_init"};
    for (int i = 0; i < 6; ++i) f(names[i], m.L_inits[i]);
    InputOutput::fields(m.io, f);
    f("L_level", m.L_level);
  }
};

TRMHier6 make_trm_hier6(const ArchConfig& config, const DataShape& shape, KeySequence& keys);

}  // namespace trm
