#pragma once

#include "trm/models/input_output.h"

namespace trm {

/// The paper's ablation with one latent that is reasoning and answer at once: z = net(z + x)
/// L_cycles times, then z = net(z).
struct TRMSingleZ {
  Buffer L_init;  // (D)
  InputOutput io;
  ReasoningModule L_level;
  int H_cycles, L_cycles;

  static std::vector<std::string> latent_names() { return {"z_L"}; }
  Latents initial() const { return {L_init.value}; }
  Latents without_gradient(Latents z, const mx::array& x) const;
  Latents with_gradient(Latents z, const mx::array& x) const;

  static void fields(auto& m, auto&& f) {
    f("L_init", m.L_init);
    InputOutput::fields(m.io, f);
    f("L_level", m.L_level);
  }
};

TRMSingleZ make_trm_singlez(const ArchConfig& config, const DataShape& shape, KeySequence& keys);

}  // namespace trm
