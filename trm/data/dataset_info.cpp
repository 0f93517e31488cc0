#include "trm/data/dataset_info.h"

#include <algorithm>
#include <mutex>
#include <unordered_map>
#include <unordered_set>

#include "trm/data/parallel.h"
#include "trm/io/text.h"

namespace trm {

namespace {

/// Keys of every example of a split, made in one pass.
struct Keys {
  std::vector<uint64_t> input, label, symmetric;
};

uint64_t form_key(PuzzleKind kind, const std::vector<int32_t>& tokens, uint64_t exact) {
  switch (kind) {
    case PuzzleKind::sudoku:
      return symmetry_key(sudoku_from_tokens(tokens));
    case PuzzleKind::maze:
      return symmetry_key(grid_from_tokens(kind, tokens), false);
    case PuzzleKind::arc:
      return symmetry_key(grid_from_tokens(kind, tokens), true);
    case PuzzleKind::other:
      break;
  }
  return exact;
}

Keys read_split(const PuzzleDataset& data, PuzzleKind kind, SplitInfo& info,
                const Progress& progress, const std::string& split) {
  auto n = static_cast<size_t>(data.examples());
  Keys keys{std::vector<uint64_t>(n), std::vector<uint64_t>(n), std::vector<uint64_t>(n)};
  auto vocab = static_cast<size_t>(data.metadata().vocab_size);
  info.input_tokens.assign(vocab, 0);
  info.label_tokens.assign(vocab, 0);
  std::mutex mutex;
  constexpr int64_t kPiece = 2048;
  int64_t pieces = (data.examples() + kPiece - 1) / kPiece, done = 0;
  parallel_for(pieces, [&](int64_t piece) {
    std::vector<int64_t> inputs(vocab), labels(vocab);
    for (int64_t i = piece * kPiece; i < std::min(data.examples(), (piece + 1) * kPiece); ++i) {
      auto [input, label] = example_tokens(data, i);
      for (int32_t t : input) ++inputs[static_cast<size_t>(t)];
      for (int32_t t : label) ++labels[static_cast<size_t>(t)];
      auto at = static_cast<size_t>(i);
      keys.input[at] = exact_key(input);
      keys.label[at] = exact_key(label);
      keys.symmetric[at] = form_key(kind, input, keys.input[at]);
    }
    std::lock_guard lock(mutex);
    for (size_t t = 0; t < vocab; ++t) {
      info.input_tokens[t] += inputs[t];
      info.label_tokens[t] += labels[t];
    }
    if (progress) progress("reading " + split, ++done, pieces);
  });
  return keys;
}

void count_structure(const PuzzleDataset& data, SplitInfo& info) {
  info.examples = data.examples();
  info.groups = data.groups();
  info.least_in_puzzle = info.least_in_group = INT64_MAX;
  auto range = [](const std::vector<int64_t>& starts, int64_t& least, int64_t& most) {
    for (size_t i = 1; i < starts.size(); ++i) {
      least = std::min(least, starts[i] - starts[i - 1]);
      most = std::max(most, starts[i] - starts[i - 1]);
    }
  };
  for (auto& set : data.sets()) {
    info.puzzles += set.puzzles();
    range(set.puzzle_indices, info.least_in_puzzle, info.most_in_puzzle);
    range(set.group_indices, info.least_in_group, info.most_in_group);
  }
}

void count_repeats(const Keys& keys, SplitInfo& info) {
  std::unordered_map<uint64_t, uint64_t> label_of;
  label_of.reserve(keys.input.size());
  for (size_t i = 0; i < keys.input.size(); ++i) {
    auto [it, is_new] = label_of.try_emplace(keys.input[i], keys.label[i]);
    if (is_new) continue;
    ++info.repeated_inputs;
    ++(it->second == keys.label[i] ? info.repeated_examples : info.conflicting);
  }
}

Leakage find_leaks(const PuzzleDataset& train, const PuzzleDataset& test, const Keys& seen,
                   const Keys& asked, PuzzleKind kind) {
  Leakage leak;
  std::unordered_set<uint64_t> inputs(seen.input.begin(), seen.input.end());
  std::unordered_multimap<uint64_t, int64_t> forms;
  std::unordered_set<uint64_t> wanted(asked.symmetric.begin(), asked.symmetric.end());
  for (size_t i = 0; i < seen.symmetric.size(); ++i) {
    if (wanted.count(seen.symmetric[i])) forms.emplace(seen.symmetric[i], static_cast<int64_t>(i));
  }
  for (size_t i = 0; i < asked.input.size(); ++i) {
    bool exact = inputs.count(asked.input[i]) > 0;
    bool same = exact;
    auto [from, to] = forms.equal_range(asked.symmetric[i]);
    for (auto it = from; it != to && !same; ++it) {
      // Only for Sudoku does the key leave a doubt.
      same = kind != PuzzleKind::sudoku ||
             are_equivalent(sudoku_from_tokens(example_tokens(test, static_cast<int64_t>(i)).first),
                            sudoku_from_tokens(example_tokens(train, it->second).first));
    }
    leak.exact += exact;
    leak.symmetric += same;
    if (same && leak.first.size() < 10) leak.first.push_back(static_cast<int64_t>(i));
  }
  return leak;
}

}  // namespace

std::pair<std::vector<int32_t>, std::vector<int32_t>> example_tokens(const PuzzleDataset& data,
                                                                     int64_t example) {
  auto [set, local] = data.locate_example(example);
  std::vector<int32_t> input(static_cast<size_t>(data.metadata().seq_len)), label = input;
  set->inputs.copy_row(local, input.data());
  set->labels.copy_row(local, label.data());
  return {input, label};
}

DatasetInfo dataset_info(const std::filesystem::path& folder, const Progress& progress) {
  namespace fs = std::filesystem;
  DatasetInfo info;
  if (!fs::is_directory(folder)) fail("[dataset] {}: no such folder", printable(folder.string()));
  for (auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) info.bytes += entry.file_size();
  }
  std::map<std::string, PuzzleDataset> data;
  std::map<std::string, Keys> keys;
  for (std::string split : {"train", "test"}) {
    if (!fs::exists(folder / split)) continue;
    auto& d = data.try_emplace(split, std::vector<fs::path>{folder}, split).first->second;
    auto& s = info.splits[split];
    s.metadata = d.metadata();
    info.kind = kind_of(s.metadata);
    count_structure(d, s);
    keys[split] = read_split(d, info.kind, s, progress, split);
    count_repeats(keys[split], s);
  }
  if (data.empty()) {
    fail("[dataset] {} has neither train nor test: it is no data set", printable(folder.string()));
  }
  if (data.size() == 2) {
    info.leakage =
        find_leaks(data.at("train"), data.at("test"), keys["train"], keys["test"], info.kind);
  }
  return info;
}

}  // namespace trm
