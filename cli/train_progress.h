#pragma once

#include <chrono>
#include <string>

#include "cli/progress.h"
#include "trm/train/trainer.h"

namespace trm::cli {

/// Shows a run: sizes first, then a bar on a terminal or a plain line every few seconds,
/// evaluations and checkpoints as they come.
class TrainProgress : public Observer {
 public:
  /// `config` must outlive it.
  TrainProgress(const PretrainConfig& config, bool quiet);
  void starting(const RunFacts& facts) override;
  void stepped(const MetricsLine& line) override;
  void evaluating(int64_t rows_done, int64_t rows) override;
  void evaluated(const MetricsLine& line) override;
  void saved(const std::filesystem::path& checkpoint) override;
  void notice(const std::string& text) override;

 private:
  using Clock = std::chrono::steady_clock;
  void show(const std::string& text);
  std::string step_text() const;

  const PretrainConfig& config_;
  bool quiet_;
  ProgressLine line_{stdout};
  RunFacts facts_;
  int64_t step_ = 0;
  double loss_ = 0, exact_ = 0, seconds_ = 0;  // recent averages; seconds a step
  double halted_ = 0;                          // rows behind exact_
  Clock::time_point last_step_;
};

}  // namespace trm::cli
