#include "cli/run_options.h"

namespace trm::cli {

void add_run_options(CLI::App& command, RunOptions& options) {
  command.add_option("--steps", options.steps, "ACT steps (default: the model's halt_max_steps)")
      ->check(CLI::PositiveNumber);
  command
      .add_option("--dtype", options.dtype, "float32, bfloat16 or float16 (default: the model's)")
      ->check(CLI::IsMember({"float32", "bfloat16", "float16"}));
  const std::map<std::string, Halt> rules{{"q", Halt::q}, {"settled", Halt::settled}};
  command
      .add_option("--halt", options.halt,
                  "Leave a puzzle early: q: once q_halt > 0; settled: once its answer stayed the\n"
                  "same besides. Faster, and less accurate where the model would have changed its\n"
                  "mind later")
      ->transform(CLI::CheckedTransformer(rules).description(""));
  command.add_flag_callback(
      "--early-stop", [&options] { options.halt = Halt::settled; }, "The same as --halt settled");
  command.add_option("--threads", options.threads, "CPU threads (default: the machine's)")
      ->check(CLI::Range(1, 4096));
  command.add_option("--batch-size", options.batch_size, "Puzzles at a time")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
}

}  // namespace trm::cli
