// From any checkpoint file to an .npz, a .safetensors or a PyTorch file.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "trm/checkpoint/decode.h"
#include "trm/checkpoint/output.h"
#include "trm/checkpoint/source_file.h"

namespace trm {

enum class OutputFormat { npz, safetensors, torch };

struct ConvertOptions {
  SourceOptions source;
  OutputFormat format = OutputFormat::npz;
  DTypePolicy dtypes;
  bool strip_orig_mod = true;
  std::vector<std::string> strip_prefixes;  // dropped from the front of names
  std::vector<std::pair<std::string, std::string>>
      renames;                                  // a whole name, or its front up to a dot
  std::vector<std::string> include, exclude;    // globs over the names as written
  std::vector<std::string> transpose;           // globs: see should_transpose_weight()
  bool add_orig_mod = false;                    // put `_orig_mod.` before every name
  std::map<std::string, std::string> metadata;  // safetensors: over what the input has
  uint64_t shard_bytes = 0;  // safetensors: several files of at most this; 0: one
  WriteOptions write;
};

/// One tensor on its way: as the file has it, and as it is written.
struct ConvertedTensor {
  std::string source_name, name;
  Tensor tensor;  // transposed already where asked
  DType dtype = DType::float32;
};

struct Conversion {
  SourceFile source;
  std::vector<ConvertedTensor> tensors;
  std::vector<std::string> excluded;           // names left out by include and exclude
  std::vector<std::vector<std::string>> tied;  // names that share one storage and layout
  uint64_t output_bytes = 0;
};

/// The place to change the layout of a weight. None is transposed by itself: MLX's and torch's
/// linear layers both hold (out_features, in_features). True for matrices whose name matches a glob
/// in `globs`.
bool should_transpose_weight(const std::string& name, const std::vector<uint64_t>& shape,
                             const std::vector<std::string>& globs);

/// The name as written: without `_orig_mod`, prefixes stripped, renamed.
std::string output_name(const std::string& source_name, const ConvertOptions& options);

/// Opens `input` and decides what each tensor becomes. Throws std::runtime_error when there is
/// nothing to convert, names collide, a type has no place in the output, or the output would pass a
/// limit.
Conversion plan_conversion(const std::filesystem::path& input, const ConvertOptions& options);

/// Writes the tensors, atomically. Gives the files it wrote (several, with an index, when sharded).
std::vector<std::filesystem::path> write_conversion(const Conversion& conversion,
                                                    const std::filesystem::path& output,
                                                    const ConvertOptions& options);

/// Format for the name of an output file; nothing for an extension that names none.
std::optional<OutputFormat> format_of_name(const std::filesystem::path& path);
const char* extension(OutputFormat format);

struct Difference {
  std::string name, what;
};

struct VerifyReport {
  uint64_t source_keys = 0, output_keys = 0, compared_bytes = 0;
  std::vector<Difference> differences;
};

/// Reads both files again, by other code than what wrote the output, and compares every element bit
/// for bit with what it should be; checks the CRC of every zip record of the output.
VerifyReport verify_conversion(const std::filesystem::path& input,
                               const std::filesystem::path& output, const ConvertOptions& options);

}  // namespace trm
