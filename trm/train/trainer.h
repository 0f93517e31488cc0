// A whole training run. The library prints nothing: an Observer hears what happens.
#pragma once

#include <atomic>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "trm/train/config.h"
#include "trm/train/metrics_log.h"
#include "trm/train/ranks.h"

namespace trm {

/// Sizes and extent of a run, known before its first step.
struct RunFacts {
  std::filesystem::path folder;
  int64_t first_step = 0, total_steps = 0;  // steps done already, steps in all
  int64_t train_examples = 0, test_examples = 0, groups = 0;
  DataShape data;
  int64_t parameters = 0, puzzle_parameters = 0;  // trained by AdamATan2, by sign-SGD
  int64_t weight_bytes = 0, state_bytes = 0;      // weights; with moments, EMA and carry
  int64_t step_bytes = 0;                         // estimate of what a step needs besides
  int64_t device_bytes = 0;                       // memory there is; 0: unknown
  std::string device;
  int processes = 1;
};

/// Hears of a run's events, on the process of rank 0 only.
class Observer {
 public:
  virtual ~Observer() = default;
  virtual void starting(const RunFacts&) {}
  virtual void stepped(const MetricsLine&) {}
  virtual void evaluating(int64_t rows_done, int64_t rows) {}
  virtual void evaluated(const MetricsLine&) {}
  virtual void saved(const std::filesystem::path& checkpoint) {}
  virtual void notice(const std::string& text) {}
};

struct RunRequest {
  PretrainConfig config;
  std::filesystem::path folder;
  bool resume = false;          // go on from the newest good state in `folder`
  std::optional<int64_t> step;  // or from this one
  bool rewrite_config = false;  // when resuming: all_config.yaml becomes `config`
};

/// A new run: its names made up where it has none, its folder from them.
RunRequest new_run(PretrainConfig config);

/// Goes on with a run's folder or one of its states (…/state_500.npz), with the run's configuration
/// and `overrides` on top. Where those change what the run computes, throws std::invalid_argument
/// naming each, unless `override` allows it.
RunRequest resumed_run(const std::filesystem::path& from, const std::vector<std::string>& overrides,
                       bool override);

enum class Ended { finished, max_steps, max_seconds, asked };
struct RunResult {
  Ended ended = Ended::finished;
  int64_t step = 0, total_steps = 0;
  std::filesystem::path checkpoint;  // of the last step
};

/// Trains. `stop` may be set from a signal handler: the step under way is finished, saved, and the
/// call returns. Throws std::invalid_argument and std::runtime_error; a loss that is not finite
/// ends the run so, with the last checkpoint kept.
RunResult pretrain(const RunRequest& request, const Ranks& ranks, Observer& observer,
                   const std::atomic<bool>& stop);

/// int(epochs * groups * mean_puzzle_examples / global_batch_size), as the reference counts.
int64_t total_steps(int64_t epochs, int64_t groups, double mean_puzzle_examples,
                    int64_t global_batch_size);

}  // namespace trm
