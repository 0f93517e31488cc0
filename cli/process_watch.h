// Ends this process when another one of its group is gone.
#pragma once

#include <csignal>
#include <string>

#include "trm/train/rank_watch.h"

namespace trm::cli {

/// See RankWatch. MLX may wait for ever for a lost process: nothing but leaving helps, with an
/// error that ends in `advice`.
class ProcessWatch {
 public:
  ProcessWatch(const Ranks& ranks, const std::string& advice);
  /// All processes have to be done with their collectives.
  void finish() { watch_.finish(); }

 private:
  RankWatch watch_;
};

}  // namespace trm::cli
