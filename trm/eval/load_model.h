#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "trm/models/model.h"

namespace trm {

struct LoadModelOptions {
  /// Hydra-style `arch=NAME` and `arch.key=value`.
  std::vector<std::string> overrides;
  /// Cells a puzzle has, where the weights do not tell (attention).
  std::optional<int> seq_len;
  /// Instead of the configuration's forward_dtype.
  std::optional<std::string> dtype;
};

struct LoadedModel {
  Model model;
  /// What was assumed and from where, a sentence each.
  std::vector<std::string> notes;
};

/// Reads a checkpoint in any format (PyTorch, npz, safetensors) into a model. The architecture
/// comes from the file's own metadata `all_config` (safetensors), else from all_config.yaml beside
/// it, else from the tensors' shapes with the reference's
/// defaults for what shapes do not tell; overrides go over both. Throws std::invalid_argument where
/// the weights do not fit, listing missing, unexpected and wrongly shaped names.
LoadedModel load_model(const std::filesystem::path& checkpoint, const LoadModelOptions& options);

/// The architecture that `weights` (names model.inner.…) show, defaults for the rest; each
/// assumption is added to `notes`.
ArchConfig infer_arch(const NamedArrays& weights, std::vector<std::string>& notes);

/// What the data set decided, from the weights' shapes; seq_len is `given` where they do not tell.
DataShape infer_shape(const ArchConfig& config, const NamedArrays& weights,
                      std::optional<int> given);

}  // namespace trm
