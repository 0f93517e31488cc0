#include "cli/run_options.h"

namespace trm::cli {

void add_run_options(CLI::App& command, RunOptions& options) {
  command.add_option("--steps", options.steps, "ACT steps (default: the model's halt_max_steps)")
      ->check(CLI::Range(1, 4096));
  command
      .add_option("--dtype", options.dtype, "float32, bfloat16 or float16 (default: the model's)")
      ->check(CLI::IsMember({"float32", "bfloat16", "float16"}));
  command
      .add_option_function<std::string>(
          "--halt",
          [&options](const std::string& rule) {
            options.halt = rule == "q" ? Halt::q : rule == "settled" ? Halt::settled : Halt::none;
          },
          "Leave a puzzle early: q: once q_halt > 0; settled: once its answer\n"
          "stands still. Faster, and less accurate where the model would have changed its mind "
          "later")
      ->check(CLI::IsMember({"none", "q", "settled"}));
  command.add_flag_callback(
      "--early-stop", [&options] { options.halt = Halt::settled; }, "The same as --halt settled");
  command.add_option("--threads", options.threads, "CPU threads (default: the machine's)")
      ->check(CLI::Range(1, 4096));
  command.add_option("--batch-size", options.batch_size, "Puzzles at a time")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
}

}  // namespace trm::cli
