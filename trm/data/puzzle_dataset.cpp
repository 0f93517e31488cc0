#include "trm/data/puzzle_dataset.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "trm/data/json_file.h"
#include "trm/io/text.h"

namespace trm {

namespace {

using std::filesystem::path;

[[noreturn]] void bad(const path& file, const std::string& what) {
  throw std::runtime_error(fmt::format("[dataset] {}: {}", printable(file.string()), what));
}

/// The whole number `key` of `json`, within [low, high].
int64_t whole_number(const nlohmann::ordered_json& json, const char* key, int64_t low, int64_t high,
                     const path& file) {
  auto it = json.find(key);
  if (it == json.end()) bad(file, fmt::format("lacks \"{}\"", key));
  if (!it->is_number_integer()) bad(file, fmt::format("\"{}\" is not a whole number", key));
  if (it->is_number_unsigned() && it->get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) {
    bad(file, fmt::format("\"{}\" is too large", key));
  }
  auto value = it->get<int64_t>();
  if (value < low || value > high) {
    bad(file, fmt::format("\"{}\" is {}, outside {}..{}", key, value, low, high));
  }
  return value;
}

/// First positions: starts at 0, never falls, ends at `last`.
std::vector<int64_t> read_indices(const path& file, int64_t last, const char* what) {
  NpyFile npy(file);
  if (npy.header().shape.size() != 1 || npy.header().shape[0] < 1) {
    bad(file, "needs one dimension and at least one element");
  }
  auto indices = npy.read<int64_t>();
  if (indices.front() != 0) bad(file, fmt::format("starts at {} and not at 0", indices.front()));
  for (size_t i = 1; i < indices.size(); ++i) {
    if (indices[i] <= indices[i - 1]) {
      bad(file, fmt::format("element {} is {} after {}: every entry must hold at least one {}", i,
                            indices[i], indices[i - 1], what));
    }
  }
  if (indices.back() != last) {
    bad(file, fmt::format("ends at {} and there are {} {}s", indices.back(), last, what));
  }
  return indices;
}

PuzzleSet read_set(const path& folder, const std::string& name, const DatasetMetadata& m,
                   int64_t id_offset) {
  auto file = [&](const char* part) { return folder / fmt::format("{}__{}.npy", name, part); };
  PuzzleSet set{name,
                TokenArray(file("inputs"), m.seq_len, m.vocab_size),
                TokenArray(file("labels"), m.seq_len, m.vocab_size),
                {},
                {},
                {}};
  if (set.inputs.rows() != set.labels.rows()) {
    bad(file("labels"),
        fmt::format("has {} rows and the inputs have {}", set.labels.rows(), set.inputs.rows()));
  }
  set.puzzle_indices = read_indices(file("puzzle_indices"), set.inputs.rows(), "example");
  auto puzzles = static_cast<int64_t>(set.puzzle_indices.size()) - 1;
  set.group_indices = read_indices(file("group_indices"), puzzles, "puzzle");
  NpyFile ids(file("puzzle_identifiers"));
  if (ids.header().shape != std::vector<int64_t>{puzzles}) {
    bad(file("puzzle_identifiers"), fmt::format("needs the shape ({},), one a puzzle", puzzles));
  }
  set.puzzle_identifiers = ids.read<int32_t>(0, m.num_puzzle_identifiers - 1);
  for (auto& id : set.puzzle_identifiers) {
    if (id != m.blank_identifier_id) id += static_cast<int32_t>(id_offset);
  }
  return set;
}

}  // namespace

DatasetMetadata read_metadata(const path& file) {
  return parse_metadata(read_text_file(file, 1 << 20), file);
}

DatasetMetadata parse_metadata(const std::string& text, const path& file) {
  auto json = parse_json(text, file.string());
  if (!json.is_object()) bad(file, "not a JSON object");
  constexpr int64_t most = INT32_MAX;
  DatasetMetadata m;
  m.vocab_size = whole_number(json, "vocab_size", 1, 1 << 20, file);
  m.seq_len = whole_number(json, "seq_len", 1, 1 << 20, file);
  m.pad_id = whole_number(json, "pad_id", 0, m.vocab_size - 1, file);
  if (auto it = json.find("ignore_label_id"); it == json.end() || it->is_null()) {
    m.ignore_label_id.reset();
  } else {
    m.ignore_label_id = whole_number(json, "ignore_label_id", -most, most, file);
  }
  m.num_puzzle_identifiers = whole_number(json, "num_puzzle_identifiers", 1, most, file);
  m.blank_identifier_id =
      whole_number(json, "blank_identifier_id", 0, m.num_puzzle_identifiers - 1, file);
  m.total_groups = whole_number(json, "total_groups", 0, most, file);
  m.total_puzzles = whole_number(json, "total_puzzles", 0, most, file);
  auto mean = json.find("mean_puzzle_examples");
  if (mean == json.end() || !mean->is_number()) bad(file, "lacks a number mean_puzzle_examples");
  m.mean_puzzle_examples = mean->get<double>();
  if (!(m.mean_puzzle_examples >= 0 && m.mean_puzzle_examples <= 1e12)) {
    bad(file, "mean_puzzle_examples is out of range");
  }
  auto sets = json.find("sets");
  if (sets == json.end() || !sets->is_array() || sets->empty()) bad(file, "lacks a list \"sets\"");
  for (auto& name : *sets) {
    // The name becomes part of a file's name, in this folder and no other.
    if (!name.is_string() ||
        name.get<std::string>().find_first_of(std::string("/\0", 2)) != std::string::npos) {
      bad(file, "\"sets\" holds something that is not a set's name");
    }
    m.sets.push_back(name);
  }
  return m;
}

std::string metadata_text(const DatasetMetadata& m) {
  std::string sets;
  for (auto& name : m.sets) {
    sets += (sets.empty() ? "" : ", ") + nlohmann::json(name).dump(-1, ' ', true);
  }
  return fmt::format(
      "{{\"pad_id\": {}, \"ignore_label_id\": {}, \"blank_identifier_id\": {}, \"vocab_size\": {}, "
      "\"seq_len\": {}, \"num_puzzle_identifiers\": {}, \"total_groups\": {}, "
      "\"mean_puzzle_examples\": {}, \"total_puzzles\": {}, \"sets\": [{}]}}",
      m.pad_id, m.ignore_label_id ? std::to_string(*m.ignore_label_id) : "null",
      m.blank_identifier_id, m.vocab_size, m.seq_len, m.num_puzzle_identifiers, m.total_groups,
      nlohmann::json(m.mean_puzzle_examples).dump(), m.total_puzzles, sets);
}

TokenArray::TokenArray(const path& file, int64_t seq_len, int64_t vocab_size)
    : file_(file), seq_len_(seq_len), vocab_size_(vocab_size) {
  auto& h = file_.header();
  if (h.shape.size() != 2 || h.shape[1] != seq_len) {
    bad(file,
        fmt::format("needs the shape (examples, {}) that dataset.json's seq_len says", seq_len));
  }
  rows_ = h.shape[0];
  if (h.kind == 'u' && h.item_size == 1) return;
  if (vocab_size <= 256) {
    narrow_ = file_.read<uint8_t>(0, vocab_size - 1);
  } else {
    wide_ = file_.read<int32_t>(0, vocab_size - 1);
  }
}

void TokenArray::copy_row(int64_t row, int32_t* out) const {
  auto first = static_cast<size_t>(row * seq_len_), n = static_cast<size_t>(seq_len_);
  if (!wide_.empty()) {
    std::copy_n(wide_.data() + first, n, out);
    return;
  }
  if (!narrow_.empty()) {
    std::copy_n(narrow_.data() + first, n, out);
    return;
  }
  const uint8_t* tokens = file_.data() + first;
  uint8_t largest = 0;
  for (size_t i = 0; i < n; ++i) {
    out[i] = tokens[i];
    largest = std::max(largest, tokens[i]);
  }
  if (largest >= vocab_size_) {
    bad(file_.name(), fmt::format("row {} holds the token {} and the vocabulary is 0..{}", row,
                                  largest, vocab_size_ - 1));
  }
}

PuzzleDataset::PuzzleDataset(const std::vector<path>& folders, const std::string& split) {
  if (folders.empty()) throw std::invalid_argument("[dataset] no data folder is given");
  int64_t examples = 0, id_offset = 0;
  metadata_.total_groups = metadata_.total_puzzles = 0;
  for (auto& folder : folders) {
    auto file = folder / split / "dataset.json";
    auto m = read_metadata(file);
    if (sets_.empty()) {
      metadata_ = m;
      metadata_.total_groups = metadata_.total_puzzles = metadata_.num_puzzle_identifiers = 0;
      metadata_.sets.clear();
    }
    auto same = [&](const char* key, auto a, auto b) {
      if (a != b)
        bad(file,
            fmt::format("\"{}\" differs from that of {}", key, printable(folders[0].string())));
    };
    same("seq_len", m.seq_len, metadata_.seq_len);
    same("vocab_size", m.vocab_size, metadata_.vocab_size);
    same("pad_id", m.pad_id, metadata_.pad_id);
    same("ignore_label_id", m.ignore_label_id, metadata_.ignore_label_id);
    same("blank_identifier_id", m.blank_identifier_id, metadata_.blank_identifier_id);
    if (id_offset + m.num_puzzle_identifiers > INT32_MAX) bad(file, "too many puzzle identifiers");
    int64_t groups = 0, puzzles = 0, folder_examples = 0;
    for (auto& name : m.sets) {
      sets_.push_back(read_set(folder / split, name, m, id_offset));
      auto& set = sets_.back();
      groups += set.groups();
      puzzles += set.puzzles();
      folder_examples += set.examples();
      first_example_.push_back(first_example_.back() + set.examples());
      first_group_.push_back(first_group_.back() + set.groups());
      metadata_.sets.push_back(name);
    }
    // The Sudoku builder writes the number of groups as total_puzzles; only the groups are certain.
    if (groups != m.total_groups) {
      bad(file, fmt::format("says {} groups and the arrays hold {}", m.total_groups, groups));
    }
    if (puzzles != m.total_puzzles && m.total_puzzles != groups) {
      bad(file, fmt::format("says {} puzzles and the arrays hold {}", m.total_puzzles, puzzles));
    }
    double mean =
        static_cast<double>(folder_examples) / static_cast<double>(std::max<int64_t>(puzzles, 1));
    if (std::abs(mean - m.mean_puzzle_examples) > 1e-6 * std::max(1.0, mean)) {
      bad(file, fmt::format("says {} examples a puzzle and the arrays hold {}",
                            m.mean_puzzle_examples, mean));
    }
    examples += folder_examples;
    metadata_.total_groups += m.total_groups;
    metadata_.total_puzzles += m.total_puzzles;
    id_offset += m.num_puzzle_identifiers - 1;
  }
  metadata_.num_puzzle_identifiers = id_offset + 1;
  if (examples == 0) bad(folders[0] / split, "holds no examples");
  if (folders.size() > 1) {
    int64_t puzzles = 0;
    for (auto& set : sets_) puzzles += set.puzzles();
    metadata_.mean_puzzle_examples = static_cast<double>(examples) / static_cast<double>(puzzles);
  }
}

std::pair<const PuzzleSet*, int64_t> PuzzleDataset::locate_example(int64_t example) const {
  auto it = std::upper_bound(first_example_.begin(), first_example_.end(), example) - 1;
  return {&sets_[static_cast<size_t>(it - first_example_.begin())], example - *it};
}

std::pair<const PuzzleSet*, int64_t> PuzzleDataset::locate_group(int64_t group) const {
  auto it = std::upper_bound(first_group_.begin(), first_group_.end(), group) - 1;
  return {&sets_[static_cast<size_t>(it - first_group_.begin())], group - *it};
}

int32_t PuzzleDataset::identifier_of(int64_t example) const {
  auto [set, local] = locate_example(example);
  auto& starts = set->puzzle_indices;
  auto puzzle = std::upper_bound(starts.begin(), starts.end(), local) - starts.begin() - 1;
  return set->puzzle_identifiers[static_cast<size_t>(puzzle)];
}

Batch PuzzleDataset::empty_batch(int size) const {
  Batch b;
  b.size = size;
  b.seq_len = static_cast<int>(metadata_.seq_len);
  size_t cells = static_cast<size_t>(size) * static_cast<size_t>(b.seq_len);
  b.inputs.assign(cells, static_cast<int32_t>(metadata_.pad_id));
  b.labels.assign(cells, kIgnoreLabel);
  b.puzzle_identifiers.assign(static_cast<size_t>(size),
                              static_cast<int32_t>(metadata_.blank_identifier_id));
  return b;
}

void PuzzleDataset::fill_row(int64_t example, int32_t identifier, int row, Batch& batch) const {
  auto [set, local] = locate_example(example);
  size_t at = static_cast<size_t>(row) * static_cast<size_t>(batch.seq_len);
  set->inputs.copy_row(local, batch.inputs.data() + at);
  int32_t* labels = batch.labels.data() + at;
  set->labels.copy_row(local, labels);
  if (metadata_.ignore_label_id) {
    std::replace(labels, labels + batch.seq_len, static_cast<int32_t>(*metadata_.ignore_label_id),
                 kIgnoreLabel);
  }
  batch.puzzle_identifiers[static_cast<size_t>(row)] = identifier;
  batch.examples.push_back(example);
}

}  // namespace trm
