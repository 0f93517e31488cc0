#include "trm/models/transformers_baseline.h"

namespace trm {

TransformersBaseline make_transformers_baseline(const ArchConfig& config, const DataShape& shape,
                                                KeySequence& keys) {
  auto H_init = make_initial_state(config, keys);
  auto io = make_input_output(config, shape, keys);
  int tokens = io.prefix + shape.seq_len;
  return {H_init, io, make_reasoning_module(config, tokens, config.H_layers, keys)};
}

}  // namespace trm
