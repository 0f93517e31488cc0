#pragma once

#include "trm/models/input_output.h"

namespace trm {

/// The paper's direct baseline: one deep network, z = net(z + x), once an ACT step.
struct TransformersBaseline {
  Buffer H_init;  // (D)
  InputOutput io;
  ReasoningModule H_level;

  static std::vector<std::string> latent_names() { return {"z_H"}; }
  Latents initial() const { return {H_init.value}; }
  Latents without_gradient(Latents z, const mx::array&) const { return z; }
  Latents with_gradient(Latents z, const mx::array& x) const {
    return {H_level(z[0], x, io.context)};
  }

  static void fields(auto& m, auto&& f) {
    f("H_init", m.H_init);
    InputOutput::fields(m.io, f);
    f("H_level", m.H_level);
  }
};

TransformersBaseline make_transformers_baseline(const ArchConfig& config, const DataShape& shape,
                                                KeySequence& keys);

}  // namespace trm
