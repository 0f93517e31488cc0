#include "trm/checkpoint/convert.h"

#include <algorithm>
#include <map>
#include <optional>
#include <unordered_set>

#include "trm/checkpoint/names.h"
#include "trm/checkpoint/shards.h"
#include "trm/io/text.h"

namespace trm {

bool should_transpose_weight(const std::string& name, const std::vector<uint64_t>& shape,
                             const std::vector<std::string>& globs) {
  return shape.size() == 2 &&
         std::any_of(globs.begin(), globs.end(), [&](auto& g) { return glob_match(g, name); });
}

std::string output_name(const std::string& source_name, const ConvertOptions& options) {
  std::string name = options.strip_orig_mod ? strip_orig_mod(source_name) : source_name;
  for (const std::string& prefix : options.strip_prefixes)
    if (!prefix.empty() && name.size() > prefix.size() && name.starts_with(prefix)) {
      name.erase(0, prefix.size());
      if (name.size() > 1 && name[0] == '.') name.erase(0, 1);
    }
  for (auto& [from, to] : options.renames) {
    bool front = name.starts_with(from) &&
                 (from.ends_with('.') || name.size() == from.size() || name[from.size()] == '.');
    if (front) name = to + name.substr(from.size());
  }
  return options.add_orig_mod ? "_orig_mod." + name : name;
}

namespace {

bool selected(const std::string& name, const ConvertOptions& options) {
  auto matches = [&](const std::string& glob) { return glob_match(glob, name); };
  bool in = options.include.empty() ||
            std::any_of(options.include.begin(), options.include.end(), matches);
  return in && std::none_of(options.exclude.begin(), options.exclude.end(), matches);
}

/// Refuses what the output cannot hold, before anything is written.
void check_output(const Conversion& plan, const ConvertOptions& options) {
  const Limits& limits = options.source.limits;
  std::unordered_set<std::string_view> names;
  uint64_t bytes = 0;
  for (const ConvertedTensor& t : plan.tensors) {
    if (!names.insert(t.name).second)
      fail("[convert] two tensors would be named {}; --rename or --exclude one", printable(t.name));
    uint64_t size = checked_product(t.tensor.count(), size_of(t.dtype), "the size");
    if (size > limits.max_tensor_bytes || __builtin_add_overflow(bytes, size, &bytes) ||
        bytes > limits.max_output_bytes)
      fail("[convert] the output would pass {} bytes at {} (--max-output-bytes)",
           limits.max_output_bytes, printable(t.name));
    for (uint64_t n : t.tensor.shape)
      if (n > 0x7fffffff && options.format != OutputFormat::torch)
        fail("[convert] {} has a dimension of {}, beyond MLX's 2^31 - 1", printable(t.name), n);
  }
  constexpr uint64_t kAlways = 256 << 20;
  if (bytes > kAlways && bytes / limits.max_expansion > plan.source.bytes)
    fail(
        "[convert] a file of {} bytes would become {}: tensors in it repeat their elements "
        "(--max-expansion)",
        plan.source.bytes, bytes);
}

/// Tensors that are the same elements of the same storage, under several names.
std::vector<std::vector<std::string>> tied_names(const Conversion& plan) {
  std::map<std::tuple<uint64_t, uint64_t, uint64_t, std::vector<uint64_t>, std::vector<uint64_t>>,
           std::vector<std::string>>
      groups;
  for (const ConvertedTensor& t : plan.tensors) {
    if (t.tensor.count() == 0) continue;
    groups[{t.tensor.storage_id, t.tensor.storage.offset, t.tensor.offset, t.tensor.shape,
            t.tensor.strides}]
        .push_back(t.name);
  }
  std::vector<std::vector<std::string>> tied;
  for (auto& [key, names] : groups)
    if (names.size() > 1) tied.push_back(std::move(names));
  return tied;
}

}  // namespace

Conversion plan_conversion(const std::filesystem::path& input, const ConvertOptions& options) {
  Conversion plan;
  plan.source = open_source(input, options.source);
  if (plan.source.weights.tensors.empty()) {
    std::string holds;
    for (size_t i = 0; i < plan.source.weights.others.size() && i < 4; ++i)
      holds +=
          fmt::format("{}{} = {}", i ? ", " : "", printable(plan.source.weights.others[i].path),
                      printable(plan.source.weights.others[i].what));
    fail("[convert] {} holds no tensors{}{}", printable(input.string()),
         holds.empty() ? "" : "; it has ", holds);
  }
  for (const NamedTensor& source : plan.source.weights.tensors) {
    ConvertedTensor t{source.name, output_name(source.name, options), source.tensor, {}};
    if (!selected(t.name, options)) {
      plan.excluded.push_back(t.name);
      continue;
    }
    if (should_transpose_weight(t.name, t.tensor.shape, options.transpose)) {
      if (t.tensor.quantization && t.tensor.quantization->scales)
        fail("[convert] {} is quantized by channel and cannot be transposed", printable(t.name));
      std::swap(t.tensor.shape[0], t.tensor.shape[1]);
      std::swap(t.tensor.strides[0], t.tensor.strides[1]);
    }
    t.dtype = target_dtype(t.tensor, options.dtypes);
    plan.tensors.push_back(std::move(t));
  }
  if (plan.tensors.empty())
    fail("[convert] --include and --exclude leave none of the {} tensors of {}",
         plan.excluded.size(), printable(input.string()));
  check_output(plan, options);
  plan.tied = tied_names(plan);
  for (const ConvertedTensor& t : plan.tensors)
    plan.output_bytes += t.tensor.count() * size_of(t.dtype);
  return plan;
}

std::vector<std::filesystem::path> write_conversion(const Conversion& plan,
                                                    const std::filesystem::path& output,
                                                    const ConvertOptions& options) {
  std::vector<OutTensor> tensors;
  for (const ConvertedTensor& t : plan.tensors) {
    auto fill = [&t, policy = options.dtypes](uint64_t first, uint64_t n, std::byte* out) {
      decode_elements(t.tensor, policy, t.name, first, n, out);
    };
    tensors.push_back({t.name, t.dtype, t.tensor.shape, fill});
  }
  std::map<std::string, std::string> metadata{{"format", "mlx"}};
  metadata.insert(plan.source.metadata.begin(), plan.source.metadata.end());
  for (auto& [key, value] : options.metadata) metadata[key] = value;
  switch (options.format) {
    case OutputFormat::npz:
      write_npz(output, tensors, options.write);
      break;
    case OutputFormat::torch:
      write_torch(output, tensors, options.write);
      break;
    case OutputFormat::safetensors:
      if (options.shard_bytes)
        return write_shards(output, tensors, metadata, options.shard_bytes, options.write);
      write_safetensors(output, tensors, metadata, options.write);
  }
  return {output};
}

std::optional<OutputFormat> format_of_name(const std::filesystem::path& path) {
  std::string ext = path.extension().string();
  if (ext == ".npz") return OutputFormat::npz;
  if (ext == ".safetensors") return OutputFormat::safetensors;
  if (ext == ".pt" || ext == ".pth" || ext == ".bin" || ext == ".ckpt") return OutputFormat::torch;
  return {};
}

const char* extension(OutputFormat format) {
  return format == OutputFormat::npz           ? ".npz"
         : format == OutputFormat::safetensors ? ".safetensors"
                                               : ".pt";
}

}  // namespace trm
