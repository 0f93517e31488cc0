#include "cli/train_progress.h"

#include <algorithm>
#include <cstdio>

#include <fmt/format.h>

namespace trm::cli {

namespace {

constexpr double kForget = 0.05;  // weight of the newest step in the averages shown

std::string bytes(int64_t n) {
  double mb = static_cast<double>(n) / (1 << 20);
  return mb < 1000 ? fmt::format("{:.1f} MB", mb) : fmt::format("{:.1f} GB", mb / 1024);
}

}  // namespace

TrainProgress::TrainProgress(const PretrainConfig& config, bool quiet)
    : config_(config), quiet_(quiet) {}

void TrainProgress::starting(const RunFacts& f) {
  facts_ = f;
  step_ = f.first_step;
  last_step_ = Clock::now();
  if (quiet_) return;
  fmt::print("Run:     {}\n", f.folder.string());
  fmt::print("Data:    {} training examples in {} groups, {} for evaluation; {} cells, {} tokens\n",
             thousands(f.train_examples), thousands(f.groups), thousands(f.test_examples),
             f.data.seq_len, f.data.vocab_size);
  fmt::print("Model:   {}, {} parameters{}, {}\n", to_string(config_.arch.kind),
             thousands(f.parameters),
             f.puzzle_parameters
                 ? fmt::format(" and {} of puzzle embedding", thousands(f.puzzle_parameters))
                 : "",
             config_.arch.forward_dtype);
  fmt::print("Memory:  weights {}, training state {}, a step about {} (there are {})\n",
             bytes(f.weight_bytes), bytes(f.state_bytes), bytes(f.step_bytes),
             bytes(f.device_bytes));
  fmt::print("Steps:   {} of batch {}{} on the {}{}\n", thousands(f.total_steps),
             config_.global_batch_size,
             f.processes > 1 ? fmt::format(" over {} processes", f.processes) : "", f.device,
             f.first_step ? fmt::format(", going on after step {}", thousands(f.first_step)) : "");
  std::fflush(stdout);
}

void TrainProgress::stepped(const MetricsLine& line) {
  auto now = Clock::now();
  bool first = step_ == facts_.first_step;
  double seconds = std::chrono::duration<double>(now - last_step_).count();
  last_step_ = now;
  double loss = line.find("train/loss").value_or(0), rows = line.find("train/count").value_or(0);
  double exact = line.find("train/exact_accuracy").value_or(0);
  auto mix = [&](double& average, double value) {
    average = first ? value : (1 - kForget) * average + kForget * value;
  };
  mix(loss_, loss);
  mix(seconds_, seconds);
  // Few rows halt in a step, so the accuracy is averaged by row.
  halted_ = (first ? 0 : (1 - kForget) * halted_) + rows;
  exact_ = (first ? 0 : (1 - kForget) * exact_) + rows * exact;
  step_ = line.step;
  if (quiet_ || !(first || step_ == facts_.total_steps || line_.due())) return;
  show(step_text());
}

std::string TrainProgress::step_text() const {
  double left = seconds_ * static_cast<double>(facts_.total_steps - step_);
  return fmt::format("step {}/{}  loss {:.4f}  exact {:.3f}  {:.3g} examples/s  {} left", step_,
                     facts_.total_steps, loss_, halted_ > 0 ? exact_ / halted_ : 0.0,
                     static_cast<double>(config_.global_batch_size) / std::max(seconds_, 1e-9),
                     duration(left));
}

void TrainProgress::show(const std::string& text) {
  double total = static_cast<double>(std::max<int64_t>(facts_.total_steps, 1));
  line_.show(static_cast<double>(step_) / total, text);
}

void TrainProgress::evaluating(int64_t done, int64_t rows) {
  if (!quiet_ && line_.due()) show(fmt::format("evaluating {}/{}", done, rows));
}

void TrainProgress::evaluated(const MetricsLine& line) {
  line_.clear();
  if (quiet_) return;
  auto value = [&](const char* name) { return line.find(name).value_or(0); };
  fmt::print(
      "Evaluation at step {}: exact accuracy {:.4f}, accuracy {:.4f}, q_halt accuracy {:.4f}, "
      "loss {:.4f}, {} puzzles\n",
      line.step, value("eval/exact_accuracy"), value("eval/accuracy"),
      value("eval/q_halt_accuracy"), value("eval/lm_loss"),
      thousands(static_cast<int64_t>(value("eval/count"))));
  std::fflush(stdout);
}

void TrainProgress::saved(const std::filesystem::path& checkpoint) {
  line_.clear();
  if (!quiet_) fmt::print("Saved {}\n", checkpoint.string());
  std::fflush(stdout);
}

void TrainProgress::notice(const std::string& text) {
  line_.clear();
  fmt::print(stderr, "trm: note: {}\n", text);
}

}  // namespace trm::cli
