// What a run leaves in its folder, by name:
//   all_config.yaml      the resolved configuration
//   metrics.jsonl        one line a step and an evaluation
//   step_N.npz           the weights after step N as `trm eval` and Python read them (EMA when
//   there is) state_N.npz          everything needed to go on from step N exactly
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

namespace trm {

std::filesystem::path state_file(const std::filesystem::path& folder, int64_t step);
/// Steps with a state file, oldest first.
std::vector<int64_t> run_states(const std::filesystem::path& folder);

class RunFolder {
 public:
  /// Makes the folder and locks it for this process. Throws std::runtime_error if it cannot be
  /// written or another process trains in it.
  explicit RunFolder(std::filesystem::path folder);
  ~RunFolder();
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

  const std::filesystem::path& path() const { return folder_; }
  std::filesystem::path config() const { return folder_ / "all_config.yaml"; }
  std::filesystem::path metrics() const { return folder_ / "metrics.jsonl"; }
  std::filesystem::path weights(int64_t step) const;
  std::filesystem::path state(int64_t step) const { return state_file(folder_, step); }

  /// Steps with a state file (weights: with a checkpoint), oldest first.
  std::vector<int64_t> states() const { return run_states(folder_); }
  std::vector<int64_t> checkpoints() const;

  /// Removes the temporary files that a killed process left.
  void remove_leftovers() const;
  /// Removes all but the newest `count` checkpoints with their states.
  void keep_newest(int64_t count) const;
  /// Renames the states of later steps to "….old": a run that goes back to an older state must not
  /// find them when it is resumed again.
  void set_aside_after(int64_t step) const;

 private:
  std::filesystem::path folder_;
  int lock_ = -1;
};

/// Where `resume=` points: a run's folder, or a state of one ("…/state_500.npz").
struct ResumePoint {
  std::filesystem::path folder;
  std::optional<int64_t> step;
};
/// Throws std::runtime_error where there is nothing to resume, saying what was expected.
ResumePoint resume_point(const std::filesystem::path& given);

}  // namespace trm
