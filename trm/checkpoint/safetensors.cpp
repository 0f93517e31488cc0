// safetensors, held to its specification: no overlaps, holes, trailing bytes or overflow.
#include "trm/checkpoint/safetensors.h"

#include <algorithm>
#include <cstring>

#include <nlohmann/json.hpp>

#include "trm/checkpoint/source_file.h"
#include "trm/io/text.h"

namespace trm {

namespace {

// Sorted by name, not ordered_json: that one searches linearly, a hang for a header of a million
// names.
using Json = nlohmann::json;

Json parse_header(const std::string& text) {
  // Duplicate keys hide a tensor from one reader and show it to another. The callback also bounds
  // the depth.
  std::vector<std::vector<std::string>> keys;
  auto check = [&](int depth, Json::parse_event_t event, Json& value) {
    if (depth > 4) fail("[safetensors] damaged: the header is nested too deep");
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::key && !keys.empty())
      keys.back().push_back(value.get<std::string>());
    if (event == Json::parse_event_t::object_end && !keys.empty()) {
      auto& names = keys.back();
      std::sort(names.begin(), names.end());
      auto twice = std::adjacent_find(names.begin(), names.end());
      if (twice != names.end())
        fail("[safetensors] damaged: '{}' is there twice", printable(*twice));
      keys.pop_back();
    }
    return true;
  };
  try {
    return Json::parse(text, check);
  } catch (const Json::exception& e) {
    fail("[safetensors] the header is not JSON: the file is damaged or of another kind");
  }
}

uint64_t unsigned_of(const Json& value, const char* what) {
  if (!value.is_number_unsigned()) fail("[safetensors] damaged: {} is no size", what);
  return value.get<uint64_t>();
}

Tensor tensor_of(const Json& entry, const Region& data, const Limits& limits) {
  if (!entry.is_object() || !entry.contains("dtype") || !entry.contains("shape") ||
      !entry.contains("data_offsets") || !entry["dtype"].is_string() ||
      !entry["shape"].is_array() || !entry["data_offsets"].is_array() ||
      entry["data_offsets"].size() != 2)
    fail("[safetensors] damaged: an entry without dtype, shape or data_offsets");
  auto text = entry["dtype"].get<std::string>();
  auto dtype = dtype_of_safetensors(text);
  if (!dtype) fail("[safetensors] type {} cannot be converted", printable(text));
  Tensor t;
  t.dtype = *dtype;
  if (entry["shape"].size() > limits.max_rank)
    fail("[safetensors] {} dimensions are more than {} (--max-rank)", entry["shape"].size(),
         limits.max_rank);
  for (const Json& n : entry["shape"]) t.shape.push_back(unsigned_of(n, "a dimension"));
  uint64_t begin = unsigned_of(entry["data_offsets"][0], "an offset"),
           end = unsigned_of(entry["data_offsets"][1], "an offset");
  uint64_t expected = checked_product(checked_count(t.shape), size_of(t.dtype), "the size");
  if (begin > end || end - begin != expected)
    fail("[safetensors] shape {} of {} takes {} bytes, but the header gives it {} to {}",
         shape_text(t.shape), name_of(t.dtype), expected, begin, end);
  if (end > data.size)
    fail("[safetensors] data up to byte {} are needed, but the file holds {}: it is cut off", end,
         data.size);
  t.strides = row_major(t.shape);
  t.storage = data.sub(begin, expected);
  t.storage_id = begin;
  check_tensor(t, limits);
  return t;
}

}  // namespace

SourceFile read_safetensors(const Source& source, const SourceOptions& options) {
  uint64_t length = 0;
  source->read(0, &length, sizeof length);
  if (length > options.limits.max_header_bytes)
    fail("[safetensors] a header of {} bytes is more than {} (--max-header-bytes)", length,
         options.limits.max_header_bytes);
  if (length > source->size() - 8)
    fail("[safetensors] the header is cut off: the file is incomplete");
  std::string text(length, '\0');
  source->read(8, text.data(), text.size());
  Json header = parse_header(text);
  if (!header.is_object()) fail("[safetensors] damaged: the header is no JSON object");
  Region data{source, 8 + length, source->size() - 8 - length};
  SourceFile file;
  file.format = "safetensors";
  file.bytes = source->size();
  for (auto& [name, entry] : header.items()) {
    if (name == "__metadata__") {
      if (!entry.is_object() && !entry.is_null())
        fail("[safetensors] damaged: __metadata__ is no object");
      for (auto& [key, value] : entry.items())
        file.metadata[key] = value.is_string() ? value.get<std::string>() : value.dump();
      continue;
    }
    if (file.weights.tensors.size() >= options.limits.max_tensors)
      fail("[safetensors] more than {} tensors (--max-tensors)", options.limits.max_tensors);
    try {
      file.weights.tensors.push_back({name, tensor_of(entry, data, options.limits)});
    } catch (const std::runtime_error& e) {
      fail("{} (tensor {})", e.what(), printable(name));
    }
  }
  // The tensors tile the data: in order of their offsets each begins where the last one ended.
  std::vector<std::pair<uint64_t, uint64_t>> extents;
  for (const NamedTensor& t : file.weights.tensors)
    extents.emplace_back(t.tensor.storage.offset - data.offset, t.tensor.storage.size);
  std::sort(extents.begin(), extents.end());
  uint64_t at = 0;
  for (auto [begin, size] : extents) {
    if (begin != at)
      fail("[safetensors] damaged: tensors overlap or leave holes at byte {} of the data",
           std::min(at, begin));
    at += size;
  }
  if (at != data.size)
    fail("[safetensors] {} bytes follow the last tensor: the file is damaged", data.size - at);
  // The header need not be in the data's order; the data's is the one to read in.
  std::stable_sort(file.weights.tensors.begin(), file.weights.tensors.end(),
                   [](const auto& a, const auto& b) {
                     return a.tensor.storage.offset < b.tensor.storage.offset;
                   });
  return file;
}

std::string safetensors_header(const std::vector<SafetensorsEntry>& entries,
                               const std::map<std::string, std::string>& metadata) {
  std::string text = "{";
  if (!metadata.empty()) text += "\"__metadata__\":" + Json(metadata).dump() + ",";
  for (const SafetensorsEntry& e : entries) {
    if (!info(e.dtype).safetensors)
      fail("[safetensors] {} has no place in safetensors files", name_of(e.dtype));
    if (e.name == "__metadata__") fail("[safetensors] a tensor cannot be named __metadata__");
    if (!is_utf8(e.name))
      fail("[safetensors] the name {} is not valid UTF-8; --rename it", printable(e.name));
    text += fmt::format(R"({}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}},)",
                        Json(e.name).dump(), info(e.dtype).safetensors, fmt::join(e.shape, ","),
                        e.begin, e.end);
  }
  if (text.back() == ',') text.pop_back();
  text += '}';
  // Data start at a multiple of 64 bytes: readers may map them.
  text.append((64 - (8 + text.size()) % 64) % 64, ' ');
  uint64_t length = text.size();
  std::string out(8, '\0');
  memcpy(out.data(), &length, 8);
  return out + text;
}

}  // namespace trm
