#include "trm/models/trm_hier6.h"

namespace trm {

namespace {
mx::array sum_of_z_L(const Latents& z) {
  auto sum = z[1];
  for (size_t l = 2; l < z.size(); ++l) sum = sum + z[l];
  return sum;
}
}  // namespace

Latents TRMHier6::initial() const {
  Latents z{H_init.value};
  for (auto& L_init : L_inits) z.push_back(L_init.value);
  return z;
}

Latents TRMHier6::with_gradient(Latents z, const mx::array& x) const {
  for (int l = 1; l <= L_cycles; ++l) z[l] = L_level(sum_of_z_L(z), z[0] + x, io.context);
  z[0] = L_level(z[0], sum_of_z_L(z), io.context);
  return z;
}

Latents TRMHier6::without_gradient(Latents z, const mx::array& x) const {
  for (int i = 0; i + 1 < H_cycles; ++i) z = with_gradient(std::move(z), x);
  return z;
}

TRMHier6 make_trm_hier6(const ArchConfig& config, const DataShape& shape, KeySequence& keys) {
  auto H_init = make_initial_state(config, keys);
  std::vector<Buffer> L_inits;
  for (int i = 0; i < 6; ++i) L_inits.push_back(make_initial_state(config, keys));
  auto io = make_input_output(config, shape, keys);
  int tokens = io.prefix + shape.seq_len;
  auto L_level = make_reasoning_module(config, tokens, config.L_layers, keys);
  return {H_init, L_inits, io, L_level, config.H_cycles, config.L_cycles};
}

}  // namespace trm
