// Ends this process when another one of its group is gone.
#pragma once

#include <chrono>
#include <csignal>
#include <exception>
#include <string>
#include <string_view>
#include <thread>

#include "trm/train/rank_watch.h"

namespace trm::cli {

/// See RankWatch. MLX may wait for ever for a lost process: nothing but leaving helps, with an
/// error that ends in `advice`.
class ProcessWatch {
 public:
  ProcessWatch(const Ranks& ranks, const std::string& advice);
  /// work(). MLX may notice a lost process first and cannot name it: its error waits here until the
  /// watch ends this process.
  auto during(auto&& work) {
    try {
      return work();
    } catch (const std::exception& e) {
      bool of_mlx = std::string_view(e.what()).starts_with("[ring]");
      if (of_mlx) std::this_thread::sleep_for(std::chrono::seconds(10));
      throw;
    }
  }
  /// All processes have to be done with their collectives.
  void finish() { watch_.finish(); }

 private:
  RankWatch watch_;
};

}  // namespace trm::cli
