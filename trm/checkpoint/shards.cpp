#include "trm/checkpoint/shards.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "trm/io/text.h"

namespace trm {

namespace fs = std::filesystem;
using Json = nlohmann::json;

namespace {
constexpr std::string_view kIndex = ".safetensors.index.json";
}

std::vector<fs::path> write_shards(const fs::path& output, const std::vector<OutTensor>& tensors,
                                   const std::map<std::string, std::string>& metadata,
                                   uint64_t shard_bytes, const WriteOptions& options) {
  std::vector<std::vector<OutTensor>> shards(1);
  uint64_t used = 0, total = 0;
  for (const OutTensor& t : tensors) {
    if (used > 0 && used + t.bytes() > shard_bytes) {
      shards.emplace_back();
      used = 0;
    }
    shards.back().push_back(t);
    used += t.bytes();
    total += t.bytes();
  }
  if (shards.size() == 1) {
    write_safetensors(output, tensors, metadata, options);
    return {output};
  }
  std::vector<fs::path> written;
  Json map = Json::object();
  for (size_t i = 0; i < shards.size(); ++i) {
    fs::path file = output;
    file.replace_filename(
        fmt::format("{}-{:05}-of-{:05}.safetensors", output.stem().string(), i + 1, shards.size()));
    write_safetensors(file, shards[i], metadata, options);
    for (const OutTensor& t : shards[i]) map[t.name] = file.filename().string();
    written.push_back(file);
  }
  // The index last: a reader that finds it finds all the rest.
  fs::path index = output;
  index.replace_filename(output.stem().string() + std::string(kIndex));
  Json text = {{"metadata", {{"total_size", total}}}, {"weight_map", map}};
  write_file_atomically(index, text.dump(2) + "\n");
  written.push_back(index);
  return written;
}

SourceFile read_shards(const fs::path& index, const SourceOptions& options) {
  Source source = open_file(index);
  if (source->size() > options.limits.max_header_bytes)
    fail("[shards] an index of {} bytes is more than {} (--max-header-bytes)", source->size(),
         options.limits.max_header_bytes);
  auto bytes = whole(source).all();
  Json json;
  try {
    json = Json::parse(bytes.begin(), bytes.end());
  } catch (const Json::exception&) {
    fail("[shards] {} is not JSON", printable(index.string()));
  }
  if (!json.is_object() || !json.contains("weight_map") || !json["weight_map"].is_object())
    fail("[shards] {} has no weight_map", printable(index.string()));
  std::map<std::string, std::vector<std::string>> files;
  for (auto& [name, file] : json["weight_map"].items()) {
    if (!file.is_string())
      fail("[shards] {} names no file for {}", printable(index.string()), printable(name));
    files[file.get<std::string>()].push_back(name);
  }
  SourceFile out;
  out.format = "safetensors";
  for (auto& [file, names] : files) {
    // Names in a file are data: one that leaves the folder would read someone else's files.
    if (file.empty() || fs::path(file).filename() != fs::path(file) || file == "..")
      fail("[shards] {} names '{}', which is no file beside it", printable(index.string()),
           printable(file));
    Source shard_source = open_file(index.parent_path() / file);
    SourceFile shard;
    try {
      shard = read_safetensors(shard_source, options);
    } catch (const std::runtime_error& e) {
      fail("{}: {}", printable(file), e.what());
    }
    out.bytes += shard.bytes;
    out.metadata.insert(shard.metadata.begin(), shard.metadata.end());
    std::sort(names.begin(), names.end());
    for (NamedTensor& t : shard.weights.tensors) {
      if (!std::binary_search(names.begin(), names.end(), t.name))
        fail("[shards] {} holds {}, which the index does not give it", printable(file),
             printable(t.name));
      t.tensor.storage_id += out.weights.tensors.size()
                             << 40;  // offsets of different files are different
      out.weights.tensors.push_back(std::move(t));
    }
    if (shard.weights.tensors.size() != names.size())
      fail("[shards] {} holds {} tensors, but the index gives it {}", printable(file),
           shard.weights.tensors.size(), names.size());
  }
  return out;
}

fs::path find_index(const fs::path& folder) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored))
    if (entry.path().filename().string().ends_with(kIndex)) return entry.path();
  return {};
}

}  // namespace trm
