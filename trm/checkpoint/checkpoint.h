// Loading and saving checkpoints as MLX arrays: the call that the rest of the program uses.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "trm/checkpoint/limits.h"
#include "trm/checkpoint/names.h"
#include "trm/mlx.h"

namespace trm {

struct CheckpointOptions {
  std::string key;  // part of a PyTorch file (dotted path, "." for all); "": found by rule
  bool strip_orig_mod = true;  // drop `_orig_mod` components, which torch.compile leaves in names
  bool bfloat16_to_float32 = false;
  bool float64_to_float32 = true;  // MLX has no float64 on GPUs; out of range is an error
  Limits limits;
};

struct Checkpoint {
  std::string format;  // "PyTorch zip", "PyTorch legacy", "PyTorch tar", "TorchScript", "npz",
                       // "npy", "safetensors"
  std::vector<std::pair<std::string, mx::array>> tensors;  // in file order
  std::map<std::string, std::string> metadata;             // safetensors' __metadata__
  std::vector<std::string> notes;                          // what a user may want to know

  /// The tensor of that name; nullptr when there is none.
  const mx::array* find(const std::string& name) const;
};

/// Opens any checkpoint that `trm convert` reads, by content, not by extension. The arrays are
/// lazy: each is read from the file when it is first evaluated, with the errors that may bring.
/// Throws std::runtime_error for files that are missing, damaged, hostile or of another kind.
Checkpoint load_checkpoint(const std::filesystem::path& path,
                           const CheckpointOptions& options = {});

using NamedArrays = std::vector<std::pair<std::string, mx::array>>;

/// Saves as .npz that Python's mx.load and numpy.load read (bfloat16 as MLX writes it: '<V2').
/// Evaluates the arrays. The file appears whole or not at all. Throws std::runtime_error for names
/// that .npz cannot hold, equal names, or a write that fails.
void save_npz(const std::filesystem::path& path, const NamedArrays& tensors);

/// Saves as .safetensors, to the format's specification (float64 included).
void save_safetensors(const std::filesystem::path& path, const NamedArrays& tensors,
                      const std::map<std::string, std::string>& metadata = {});

/// Saves a file that torch.load(weights_only=True) reads as a state_dict.
void save_torch(const std::filesystem::path& path, const NamedArrays& tensors);

}  // namespace trm
