#include "trm/models/trm.h"

namespace trm {

Latents TRM::recursion(const Latents& z, const mx::array& x, int cycles) const {
  auto network = L_level.network(io.context);
  if (ops::fuses_recursion(z[0], z[1], x, network, cycles)) {  // the same loops in one operation
    return ops::recursion(z[0], z[1], x, network, cycles, L_cycles);
  }
  return network_by_network(z, x, cycles);
}

Latents TRM::network_by_network(const Latents& z, const mx::array& x, int cycles) const {
  auto z_H = z[0], z_L = z[1];
  for (int c = 0; c < cycles; ++c) {
    auto injection = z_H + x;
    for (int i = 0; i < L_cycles; ++i) z_L = L_level(z_L, injection, io.context);
    z_H = L_level(z_H, z_L, io.context);
  }
  return {z_H, z_L};
}

Latents TRM::with_gradient(Latents z, const mx::array& x) const {
  return io.context.recompute ? network_by_network(z, x, 1) : recursion(z, x, 1);
}

Latents TRM::without_gradient(Latents z, const mx::array& x) const {
  return recursion(z, x, H_cycles - 1);
}

TRM make_trm(const ArchConfig& config, const DataShape& shape, KeySequence& keys) {
  auto H_init = make_initial_state(config, keys), L_init = make_initial_state(config, keys);
  auto io = make_input_output(config, shape, keys);
  int tokens = io.prefix + shape.seq_len;
  auto L_level = make_reasoning_module(config, tokens, config.L_layers, keys);
  return {H_init, L_init, io, L_level, config.H_cycles, config.L_cycles};
}

}  // namespace trm
