// Any checkpoint file as named tensors, recognised by its content. Nothing of the tensors is read
// yet.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "trm/checkpoint/weights.h"

namespace trm {

struct SourceOptions {
  std::string
      key;  // part of a torch file: a dotted path, "." for all, "" for the rule of find_weights()
  Limits limits;
};

struct SourceFile {
  std::string format;  // "PyTorch zip", "PyTorch legacy", "PyTorch tar", "TorchScript", "npz",
                       // "npy", "safetensors"
  uint64_t bytes = 0;  // of the file, or all files of a sharded model
  Weights weights;
  std::map<std::string, std::string> metadata;  // safetensors' __metadata__

  bool is_torch() const { return format.starts_with("PyTorch") || format == "TorchScript"; }
};

/// Opens a file or the folder of a sharded safetensors model. Throws std::runtime_error that names
/// the cause: missing, empty, cut off, or which other kind of file it is.
SourceFile open_source(const std::filesystem::path& path, const SourceOptions& options = {});

/// The same for bytes that are no file of their own.
SourceFile open_source(const Source& source, const SourceOptions& options = {});

// One reader a format, for open_source() and the fuzz targets.
SourceFile read_torch_zip(const Source& source, const SourceOptions& options);
SourceFile read_torch_legacy(const Source& source, const SourceOptions& options);
SourceFile read_torch_tar(const Source& source, const SourceOptions& options);
SourceFile read_npz(const Source& source, const SourceOptions& options);
SourceFile read_npy_file(const Source& source, const SourceOptions& options);
SourceFile read_safetensors(const Source& source, const SourceOptions& options);

}  // namespace trm
