// The reference's ARC builder (dataset/build_arc_dataset.py), byte for byte.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "trm/data/arc.h"
#include "trm/data/dataset_writer.h"

namespace trm {

struct ArcDatasetOptions {
  std::string input_file_prefix;  // PREFIX_SUBSET_challenges.json, …_solutions.json
  std::vector<std::string> subsets;
  std::string test_set_name;                     // its test pairs become the test split
  std::string test_set_name2 = "your_test_set";  // and those of this one
  uint32_t seed = 42;
  int64_t num_aug = 1000;
  int64_t puzzle_identifiers_start = 1;
};

struct ArcDatasetReport {
  int64_t tasks = 0, identifiers = 0;  // <blank> included
  int64_t train_examples = 0, test_examples = 0;
  std::vector<std::pair<std::string, int64_t>>
      not_full;                                // tasks with fewer variants, original included
  std::vector<std::string> without_solutions;  // subsets
};

/// Writes the data set, test_puzzles.json included. Memory grows with the tasks and identifiers,
/// not with the examples. Where the test subset comes first the reference's arrays depend on
/// Python's hash seed; here the training split is written first then. Throws std::runtime_error.
ArcDatasetReport write_arc_dataset(const std::filesystem::path& output,
                                   const ArcDatasetOptions& options, const Progress& progress = {});

/// Names of the puzzles by identifier. Throws std::runtime_error for anything but a list of
/// strings.
std::vector<std::string> read_identifiers(const std::filesystem::path& file);

/// `json` as Python's json.dump writes it.
std::string python_json(const nlohmann::ordered_json& json);

}  // namespace trm
