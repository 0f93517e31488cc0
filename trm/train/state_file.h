#pragma once

#include <filesystem>
#include <string>

#include "trm/train/train_step.h"

namespace trm {

/// Where a run stands beside its arrays.
struct RunPosition {
  std::string cursor;  // TrainIterator::state()
  double elapsed = 0;  // seconds trained so far
};

/// Writes everything that a run needs to go on exactly: weights, averages, moments, carry, key,
/// step and position. Atomic; throws std::runtime_error.
void save_state(const std::filesystem::path& file, const TrainState& state,
                const RunPosition& position);

/// Reads it into `state`, which has the shapes and dtypes of the run already. Throws
/// std::runtime_error for a file that is damaged or of another model, data set or batch size.
RunPosition load_state(const std::filesystem::path& file, TrainState& state);

}  // namespace trm
