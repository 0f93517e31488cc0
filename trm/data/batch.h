// A batch of puzzles as plain numbers, before it becomes arrays.
#pragma once

#include <cstdint>
#include <vector>

namespace trm {

/// Label of cells that count neither in the loss nor in the metrics.
constexpr int32_t kIgnoreLabel = -100;

struct Batch {
  int size = 0;                             // rows of this rank, padding included
  int seq_len = 0;                          // cells a row
  int rows = 0;                             // rows of this rank that hold data; they come first
  int global_rows = 0;                      // rows that hold data over all ranks
  std::vector<int32_t> inputs;              // (size, seq_len) tokens
  std::vector<int32_t> labels;              // (size, seq_len) tokens or kIgnoreLabel
  std::vector<int32_t> puzzle_identifiers;  // (size)
  std::vector<int64_t> examples;            // (rows) index of each example in the data set
};

}  // namespace trm
