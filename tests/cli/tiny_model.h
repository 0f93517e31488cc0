#pragma once

#include <string>

#include "trm/checkpoint/checkpoint.h"
#include "trm/models/model.h"

namespace trm {

/// An untrained attention model of a size that takes milliseconds (arch.num_heads=2); some rows
/// believe their answers, some do not.
inline void save_model(const std::string& file, int cells, int vocab, int identifiers,
                       uint64_t seed) {
  ArchConfig c;
  c.hidden_size = 16;
  c.num_heads = 2;
  c.L_layers = 1;
  c.H_cycles = c.L_cycles = 1;
  c.puzzle_emb_ndim = 16;
  auto model = make_model(c, {cells, vocab, identifiers}, mx::random::key(seed));
  model.io().q_head.weight =
      mx::random::normal({2, 16}, mx::float32, 0, 1, mx::random::key(seed + 1));
  save_npz(file, named_arrays(model));
}

}  // namespace trm
