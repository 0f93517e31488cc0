#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace trm {

/// One line of metrics.jsonl: {"step": …, "time": seconds of training, name: value, …}. Names are
/// those of the reference's log ("train/lm_loss", "train/lr", "eval/exact_accuracy").
struct MetricsLine {
  int64_t step = 0;
  double time = 0;
  std::vector<std::pair<std::string, double>> values;

  /// Without line feed; values that JSON has no number for are null.
  std::string text() const;
  /// The value of `name`, if it has one.
  std::optional<double> find(const std::string& name) const;
};

/// Reads a metrics.jsonl. A last line cut short is passed over; any other line that isn't one
/// throws std::runtime_error with its number.
std::vector<MetricsLine> read_metrics(const std::filesystem::path& file);

/// metrics.jsonl, written so that a kill at any moment leaves whole lines: each line is one write.
class MetricsLog {
 public:
  /// Starts an empty log, or with `keep_until` one that goes on after that step: later lines and a
  /// broken last one are dropped (through an AtomicFile).
  MetricsLog(const std::filesystem::path& file, std::optional<int64_t> keep_until);
  ~MetricsLog();
  MetricsLog(const MetricsLog&) = delete;
  MetricsLog& operator=(const MetricsLog&) = delete;

  /// Throws std::runtime_error where the line cannot be written whole (disk full).
  void append(const MetricsLine& line);
  /// The last step with an evaluation, kept or appended; -1: none.
  int64_t evaluated_at() const { return evaluated_at_; }

 private:
  std::filesystem::path file_;
  int fd_ = -1;
  int64_t evaluated_at_ = -1;
};

}  // namespace trm
