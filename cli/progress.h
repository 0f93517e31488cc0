// How far long work is, and asking it to stop.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

namespace trm::cli {

/// From here on the first SIGINT or SIGTERM sets the flag that is returned, and another one, later
/// than a second after it, ends the program at once.
const std::atomic<bool>& stop_on_signal();

/// 1,234,567.
std::string thousands(int64_t n);
/// 1:02:03 or 2:03.
std::string duration(double seconds);

/// A bar that is drawn anew on a terminal, a plain line every five seconds elsewhere.
class ProgressLine {
 public:
  /// Writes to stdout or stderr.
  explicit ProgressLine(std::FILE* to);
  ~ProgressLine() { clear(); }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;
  /// Whether it is time to show something again.
  bool due() const;
  /// `share` (0 to 1) of the work is done.
  void show(double share, const std::string& text);
  /// `done` of `total` (-1: unknown) pieces of the work called `what`, with the rate and the time
  /// left, both since the first call for it. Nothing is left on a terminal when all are done.
  void count(std::string_view what, int64_t done, int64_t total);
  /// Takes the bar off the terminal.
  void clear();

 private:
  using Clock = std::chrono::steady_clock;

  std::FILE* to_;
  bool terminal_, drawn_ = false;
  Clock::time_point last_shown_, started_;
  std::string what_;
  int64_t first_ = 0;
};

}  // namespace trm::cli
