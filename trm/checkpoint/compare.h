// Two checkpoints side by side.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "trm/checkpoint/source_file.h"

namespace trm {

struct TensorDifference {
  std::string name, what;  // what: "only in the first", "shape (2,) and (3,)", ...
  uint64_t elements = 0;   // that differ, 0 when the tensors cannot be compared
  double largest = 0;      // absolute difference
  uint64_t first = 0;      // index of the first one, row-major
};

struct Comparison {
  uint64_t same = 0;                     // tensors equal in name, shape and every value
  std::vector<std::string> other_dtype;  // equal in value, of another dtype
  std::vector<TensorDifference> differences;
};

/// Compares by name (without `_orig_mod`) and by value: bfloat16 1.5 equals float32 1.5, NaN equals
/// NaN, -0 does not equal 0.
Comparison compare_checkpoints(const SourceFile& a, const SourceFile& b);

}  // namespace trm
