// Temporary folders, small data sets of our own making, and the recorded (golden) ones.
#pragma once

#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/files.h"
#include "trm/data/arc_dataset.h"
#include "trm/data/npy.h"
#include "trm/data/puzzle_dataset.h"
#include "trm/io/atomic_file.h"

namespace trm::test {

inline std::filesystem::path golden(const std::string& name) {
  return std::filesystem::path(TRM_SOURCE_DIR) / "../shared/golden" / name;
}
inline std::filesystem::path shared_data(const std::string& name) {
  return std::filesystem::path(TRM_SOURCE_DIR) / "../shared/data" / name;
}

struct Tensor {
  std::string dtype;  // safetensors' name: U8, I32, I64, F32, …
  std::vector<int64_t> shape;
  std::string bytes;
  template <class T>
  std::vector<T> as() const {
    std::vector<T> v(bytes.size() / sizeof(T));
    std::memcpy(v.data(), bytes.data(), bytes.size());
    return v;
  }
};

/// All tensors of a safetensors file.
inline std::map<std::string, Tensor> load_tensors(const std::filesystem::path& file) {
  std::string all = read_file(file);
  uint64_t length = 0;
  std::memcpy(&length, all.data(), 8);
  auto header = nlohmann::json::parse(all.substr(8, length));
  std::map<std::string, Tensor> out;
  for (auto& [name, t] : header.items()) {
    if (name == "__metadata__") continue;
    size_t from = t["data_offsets"][0], to = t["data_offsets"][1];
    out[name] = {t["dtype"], t["shape"], all.substr(8 + length + from, to - from)};
  }
  return out;
}

/// Writes golden/dataset/NAME as a data set's folder.
inline void write_golden_dataset(const std::string& name, const std::filesystem::path& folder) {
  auto info = nlohmann::json::parse(read_file(golden("dataset/" + name + ".json")));
  for (auto& [key, t] : load_tensors(golden("dataset/" + name + ".safetensors"))) {
    auto dot = key.find('.');
    std::string split = key.substr(0, dot), field = key.substr(dot + 1);
    char kind = t.dtype[0] == 'U' ? 'u' : 'i';
    int size = t.dtype == "U8" ? 1 : t.dtype == "I32" ? 4 : 8;
    write_file(folder / split / ("all__" + field + ".npy"),
               npy_header(kind, size, t.shape) + t.bytes);
  }
  for (std::string split : {"train", "test"}) {
    write_file(folder / split / "dataset.json",
               info[split + "_dataset_json_text"].get<std::string>());
  }
}

/// Shape of a data set to make: examples[g][p] says how many examples puzzle p of group g has.
struct MadeDataset {
  std::vector<std::vector<int>> examples;
  int seq_len = 4, vocab = 16;
};

/// Writes `made` under folder/split. Example e holds the tokens (e*seq_len + i) % (vocab-1) + 1 and
/// their successors as labels, 0 (ignored) in the last cell; puzzle p has the identifier p + 1.
inline DatasetMetadata write_made(const MadeDataset& made, const std::filesystem::path& folder,
                                  const std::string& split = "train") {
  std::vector<int32_t> puzzle_indices{0}, group_indices{0}, ids;
  for (auto& group : made.examples) {
    for (int n : group) {
      puzzle_indices.push_back(puzzle_indices.back() + n);
      ids.push_back(static_cast<int32_t>(ids.size()) + 1);
    }
    group_indices.push_back(static_cast<int32_t>(ids.size()));
  }
  int64_t examples = puzzle_indices.back(), puzzles = static_cast<int64_t>(ids.size());
  std::vector<uint8_t> inputs, labels;
  for (int64_t i = 0; i < examples * made.seq_len; ++i) {
    inputs.push_back(static_cast<uint8_t>(i % (made.vocab - 1) + 1));
    labels.push_back(
        static_cast<uint8_t>((i + 1) % made.seq_len == 0 ? 0 : (i + 1) % (made.vocab - 1) + 1));
  }
  DatasetMetadata m;
  m.vocab_size = made.vocab;
  m.seq_len = made.seq_len;
  m.num_puzzle_identifiers = puzzles + 1;
  m.total_groups = static_cast<int64_t>(made.examples.size());
  m.total_puzzles = puzzles;
  m.mean_puzzle_examples = static_cast<double>(examples) / static_cast<double>(puzzles);
  m.sets = {"all"};
  auto dir = folder / split;
  std::filesystem::create_directories(dir);
  int64_t shape[] = {examples, made.seq_len};
  write_npy<uint8_t>(dir / "all__inputs.npy", inputs, shape);
  write_npy<uint8_t>(dir / "all__labels.npy", labels, shape);
  auto write_list = [&](const char* name, const std::vector<int32_t>& v) {
    int64_t n[] = {static_cast<int64_t>(v.size())};
    write_npy<int32_t>(dir / name, v, n);
  };
  write_list("all__puzzle_identifiers.npy", ids);
  write_list("all__puzzle_indices.npy", puzzle_indices);
  write_list("all__group_indices.npy", group_indices);
  write_file_atomically(dir / "dataset.json", metadata_text(m));
  return m;
}

/// Two subsets of made-up tasks under dir/arc_*; `odd` has no solutions file.
inline ArcDatasetOptions write_small_arc(const std::filesystem::path& dir) {
  auto task = [](int colour, int side) {
    std::string row = "[" + std::to_string(colour);
    for (int i = 1; i < side; ++i) row += ", " + std::to_string((colour + i) % 10);
    row += "]";
    std::string pair = "{\"input\": [" + row + ", " + row + "], \"output\": [" + row + "]}";
    return "{\"test\": [{\"input\": [" + row + "]}], \"train\": [" + pair + ", " + pair + "]}";
  };
  write_file(dir / "arc_even_challenges.json",
             "{\"e0\": " + task(2, 3) + ", \"e1\": " + task(4, 5) + "}");
  write_file(dir / "arc_even_solutions.json", "{\"e0\": [[[1, 2]]], \"e1\": [[[3]]]}");
  write_file(dir / "arc_odd_challenges.json",
             "{\"o0\": " + task(3, 2) + ", \"o1\": " + task(0, 1) + "}");
  return {.input_file_prefix = (dir / "arc").string(),
          .subsets = {"even", "odd"},
          .test_set_name = "odd",
          .num_aug = 20};
}

}  // namespace trm::test
