#pragma once

#include <variant>

#include "trm/models/arch_config.h"
#include "trm/models/hrm.h"
#include "trm/models/transformers_baseline.h"
#include "trm/models/trm.h"
#include "trm/models/trm_hier6.h"
#include "trm/models/trm_singlez.h"

namespace trm {

/// Any of the five models with its configuration: what training, evaluation and solving work with.
/// Its arrays carry the PyTorch checkpoint's names (model.inner.…).
struct Model {
  ArchConfig config;
  DataShape shape;
  std::variant<TRM, TRMHier6, TRMSingleZ, HRM, TransformersBaseline> inner;

  const InputOutput& io() const;
  InputOutput& io();
  int tokens() const { return io().prefix + shape.seq_len; }
  std::vector<std::string> latent_names() const;
  /// The start of each latent, (1, 1, D) in the forward dtype.
  Latents initial() const;
  /// The cycles without gradient, then the one with: together one forward (one ACT step). x is
  /// io().embed(…).
  Latents without_gradient(Latents z, const mx::array& x) const;
  Latents with_gradient(Latents z, const mx::array& x) const;
  /// True if halting compares q_halt with q_continue and q_continue has a target.
  bool uses_q_continue() const;

  static void fields(auto& m, auto&& f) { f("model.inner", m.inner); }
};

/// A freshly initialised model. Throws std::invalid_argument for an impossible configuration.
Model make_model(const ArchConfig& config, const DataShape& shape, const mx::array& key);

/// A copy of `model` holding `arrays` instead. Strict: throws std::invalid_argument that lists
/// missing, unexpected and wrongly shaped names apart. Floating dtypes become the model's own.
Model with_arrays(Model model, const NamedArrays& arrays);

/// A copy that works in `dtype` (float32, bfloat16, float16).
Model with_forward_dtype(Model model, const std::string& dtype);

}  // namespace trm
