// What a run is made of before its first step.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "trm/data/puzzle_dataset.h"
#include "trm/train/config.h"
#include "trm/train/train_step.h"
#include "trm/train/trainer.h"

namespace trm {

/// The data sets of a run. `test` is absent where data_paths have no test split and none is asked
/// for.
struct RunData {
  std::unique_ptr<PuzzleDataset> train, test;
  DataShape shape;
  std::string no_test;  // why there is no test split
};
RunData load_run_data(const PretrainConfig& config);

/// The model a run starts from: drawn from the seed or, with `load`, the weights of
/// config.load_checkpoint, whose puzzle embedding is refilled with its mean row where its size
/// differs. `notice` hears what a user should know.
Model starting_model(const PretrainConfig& config, const DataShape& shape, const mx::array& key,
                     bool load, const std::function<void(const std::string&)>& notice);

Hyperparameters hyperparameters(const PretrainConfig& config, int64_t total_steps,
                                const Ranks& ranks);

/// Sizes of a run. step_bytes is an estimate of the arrays that one step holds for its gradient.
RunFacts run_facts(const PretrainConfig& config, const TrainState& state, const RunData& data,
                   const Ranks& ranks);

/// Throws std::runtime_error with sizes and what to change if the run cannot fit.
void require_memory(const RunFacts& facts, const PretrainConfig& config);

}  // namespace trm
