#include "cli/run_options.h"

namespace trm::cli {

void add_run_options(CLI::App& command, RunOptions& options) {
  command.add_option("--steps", options.steps, "ACT steps (default: the model's halt_max_steps)")
      ->check(CLI::PositiveNumber);
  command
      .add_option("--dtype", options.dtype, "float32, bfloat16 or float16 (default: the model's)")
      ->check(CLI::IsMember({"float32", "bfloat16", "float16"}));
  command.add_flag(
      "--early-stop", options.early_stop,
      "Leave a puzzle once q_halt > 0 and its answer did not change; faster, and a little\n"
      "less accurate where the model would have changed its mind later");
  command.add_option("--threads", options.threads, "CPU threads (default: the machine's)")
      ->check(CLI::Range(1, 4096));
  command.add_option("--batch-size", options.batch_size, "Puzzles at a time")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
}

}  // namespace trm::cli
