// What stands in a data set: counts, ranges, repetitions, and test puzzles that training has seen.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "trm/data/dataset_writer.h"
#include "trm/data/symmetry.h"

namespace trm {

/// What the labels of mazes are.
struct MazeFacts {
  int64_t least_steps = 0, most_steps = 0;      // of shortest paths
  int64_t without_path = 0, with_one_path = 0;  // mazes; one: only one path is that short
  int64_t shortest_labels = 0;                  // labels that are a shortest path
  int64_t rule_labels = 0;                      // … the one that solve_maze finds
  double mean_steps = 0, wall_share = 0;
};

struct SplitInfo {
  DatasetMetadata metadata;
  int64_t examples = 0, puzzles = 0, groups = 0;
  int64_t least_in_puzzle = 0, most_in_puzzle = 0;  // examples of one puzzle
  int64_t least_in_group = 0, most_in_group = 0;    // puzzles of one group
  std::vector<int64_t> input_tokens, label_tokens;  // how often each token occurs
  int64_t repeated_inputs = 0;    // examples whose input stood in the split before
  int64_t repeated_examples = 0;  // … with the same label
  int64_t conflicting = 0;        // … with another label
  std::optional<MazeFacts> maze;
};

struct Leakage {
  int64_t exact = 0;           // test examples whose input is in the training split
  int64_t symmetric = 0;       // … or is a form of one there; for kind `other` the same as exact
  std::vector<int64_t> first;  // up to 10 of those test examples
};

struct DatasetInfo {
  PuzzleKind kind = PuzzleKind::other;
  uint64_t bytes = 0;                       // of all files
  std::map<std::string, SplitInfo> splits;  // "train", "test": those that exist
  std::optional<Leakage> leakage;           // when both do
};

/// Reads everything once, in parallel. Throws std::runtime_error for a broken data set.
DatasetInfo dataset_info(const std::filesystem::path& folder, const Progress& progress = {});

/// The same of mazes and labels that stand alone.
MazeFacts maze_facts(const std::vector<std::pair<Grid, Grid>>& mazes);

/// Which `test` puzzles are in `train` or forms of one there.
Leakage sudoku_leakage(const std::vector<Sudoku>& train, const std::vector<Sudoku>& test);

/// The tokens of one example: input, then label (ignored cells as the ignore_label_id).
std::pair<std::vector<int32_t>, std::vector<int32_t>> example_tokens(const PuzzleDataset& data,
                                                                     int64_t example);

}  // namespace trm
