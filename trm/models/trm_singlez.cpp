#include "trm/models/trm_singlez.h"

namespace trm {

Latents TRMSingleZ::with_gradient(Latents latents, const mx::array& x) const {
  auto z = latents[0];
  for (int i = 0; i < L_cycles; ++i) z = L_level(z, x, io.context);
  z = L_level(z, mx::zeros_like(z), io.context);
  return {z};
}

Latents TRMSingleZ::without_gradient(Latents z, const mx::array& x) const {
  for (int i = 0; i + 1 < H_cycles; ++i) z = with_gradient(std::move(z), x);
  return z;
}

TRMSingleZ make_trm_singlez(const ArchConfig& config, const DataShape& shape, KeySequence& keys) {
  auto L_init = make_initial_state(config, keys);
  auto io = make_input_output(config, shape, keys);
  int tokens = io.prefix + shape.seq_len;
  auto L_level = make_reasoning_module(config, tokens, config.L_layers, keys);
  return {L_init, io, L_level, config.H_cycles, config.L_cycles};
}

}  // namespace trm
