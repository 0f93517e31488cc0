#include "trm/data/dataset_info.h"

#include <algorithm>
#include <functional>
#include <mutex>
#include <unordered_map>
#include <unordered_set>

#include "trm/data/maze.h"
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

/// `equivalent`(test, train) settles whether equal keys mean equal puzzles.
Leakage find_leaks(const Keys& seen, const Keys& asked,
                   const std::function<bool(int64_t, int64_t)>& equivalent) {
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
      same = equivalent(static_cast<int64_t>(i), it->second);
    }
    leak.exact += exact;
    leak.symmetric += same;
    if (same && leak.first.size() < 10) leak.first.push_back(static_cast<int64_t>(i));
  }
  return leak;
}

Keys keys_of(const std::vector<Sudoku>& puzzles) {
  Keys keys{std::vector<uint64_t>(puzzles.size()), {}, std::vector<uint64_t>(puzzles.size())};
  parallel_for(static_cast<int64_t>(puzzles.size()), [&](int64_t i) {
    auto at = static_cast<size_t>(i);
    auto& p = puzzles[at];
    keys.input[at] = exact_key({p.cells.begin(), p.cells.begin() + p.count()});
    keys.symmetric[at] = symmetry_key(p);
  });
  return keys;
}

MazeFacts maze_facts(const PuzzleDataset& data) {
  std::vector<std::pair<Grid, Grid>> mazes;
  for (int64_t i = 0; i < data.examples(); ++i) {
    auto [input, label] = example_tokens(data, i);
    mazes.emplace_back(grid_from_tokens(PuzzleKind::maze, input),
                       grid_from_tokens(PuzzleKind::maze, label));
  }
  return maze_facts(mazes);
}

}  // namespace

MazeFacts maze_facts(const std::vector<std::pair<Grid, Grid>>& mazes) {
  MazeFacts facts;
  std::mutex mutex;
  int64_t cells = 0, walls = 0, steps = 0, solvable = 0;
  facts.least_steps = INT64_MAX;
  parallel_for(static_cast<int64_t>(mazes.size()), [&](int64_t i) {
    auto& [maze, label] = mazes[static_cast<size_t>(i)];
    auto distance = maze_distance(maze);
    bool one = has_one_shortest_path(maze), shortest = is_shortest_path(maze, label);
    bool by_rule = shortest && solve_maze(maze) == label;
    std::lock_guard lock(mutex);
    cells += static_cast<int64_t>(maze.cells.size());
    walls += std::count(maze.cells.begin(), maze.cells.end(), kWall);
    facts.with_one_path += one;
    facts.shortest_labels += shortest;
    facts.rule_labels += by_rule;
    if (!distance) {
      ++facts.without_path;
      return;
    }
    ++solvable;
    steps += *distance;
    facts.least_steps = std::min<int64_t>(facts.least_steps, *distance);
    facts.most_steps = std::max<int64_t>(facts.most_steps, *distance);
  });
  if (!solvable) facts.least_steps = 0;
  if (solvable) facts.mean_steps = static_cast<double>(steps) / static_cast<double>(solvable);
  if (cells) facts.wall_share = static_cast<double>(walls) / static_cast<double>(cells);
  return facts;
}

Leakage sudoku_leakage(const std::vector<Sudoku>& train, const std::vector<Sudoku>& test) {
  return find_leaks(keys_of(train), keys_of(test), [&](int64_t asked, int64_t seen) {
    return are_equivalent(test[static_cast<size_t>(asked)], train[static_cast<size_t>(seen)]);
  });
}

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
    if (info.kind == PuzzleKind::maze) s.maze = maze_facts(d);
  }
  if (data.empty()) {
    fail("[dataset] {} has neither train nor test: it is no data set", printable(folder.string()));
  }
  if (data.size() == 2) {
    const auto &train = data.at("train"), &test = data.at("test");
    info.leakage = find_leaks(keys["train"], keys["test"], [&](int64_t asked, int64_t seen) {
      // Only for Sudoku do equal keys leave a doubt.
      return info.kind != PuzzleKind::sudoku ||
             are_equivalent(sudoku_from_tokens(example_tokens(test, asked).first),
                            sudoku_from_tokens(example_tokens(train, seen).first));
    });
  }
  return info;
}

}  // namespace trm
