#include "trm/models/hrm.h"

namespace trm {

Latents HRM::with_gradient(Latents z, const mx::array& x) const {
  auto z_L = L_level(z[1], z[0] + x, io.context);
  return {H_level(z[0], z_L, io.context), z_L};
}

Latents HRM::without_gradient(Latents z, const mx::array& x) const {
  auto z_H = z[0], z_L = z[1];
  for (int h = 0; h < H_cycles; ++h) {
    bool last = h + 1 == H_cycles;
    for (int l = 0; l < L_cycles - (last ? 1 : 0); ++l) z_L = L_level(z_L, z_H + x, io.context);
    if (!last) z_H = H_level(z_H, z_L, io.context);
  }
  return {z_H, z_L};
}

HRM make_hrm(const ArchConfig& config, const DataShape& shape, KeySequence& keys) {
  auto H_init = make_initial_state(config, keys), L_init = make_initial_state(config, keys);
  auto io = make_input_output(config, shape, keys);
  int tokens = io.prefix + shape.seq_len;
  auto H_level = make_reasoning_module(config, tokens, config.H_layers, keys);
  auto L_level = make_reasoning_module(config, tokens, config.L_layers, keys);
  return {H_init, L_init, io, H_level, L_level, config.H_cycles, config.L_cycles};
}

}  // namespace trm
