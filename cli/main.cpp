// Dispatch to the subcommands, and the only place that catches.
#include <cstdio>
#include <exception>

#include <fmt/format.h>

#include "cli/commands.h"

namespace {

constexpr const char* kFirstSteps = R"(trm: Tiny Recursive Models on MLX

First:
  trm selftest                         is this machine able to? (some seconds)
  trm solve --checkpoint FILE PUZZLE   81 characters in, the solution out
  trm serve --checkpoint FILE          the same in a browser, every step of thought shown
FILE is a PyTorch checkpoint, an .npz or a .safetensors file; without one, the weights that came
with trm are used where they are installed.

Then:
  trm convert FILE                     a PyTorch checkpoint for MLX
  trm dataset sudoku --help            data sets, built or generated
  trm pretrain --help                  training
  trm eval --help                      accuracy, step by step

trm --help lists every command, trm COMMAND --help explains one with examples.
)";

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"trm: Tiny Recursive Models on MLX"};
  app.set_version_flag("--version", trm::cli::version, "Version, MLX's version, devices and BLAS");
  app.require_subcommand(0, 1);
  trm::cli::add_dataset(app);
  trm::cli::add_convert(app);
  trm::cli::add_inspect(app);
  trm::cli::add_eval(app);
  trm::cli::add_solve(app);
  trm::cli::add_serve(app);
  trm::cli::add_pretrain(app);
  trm::cli::add_report(app);
  trm::cli::add_selftest(app);
  trm::cli::add_bench(app);
  trm::cli::add_completion(app);
  try {
    app.parse(argc, argv);
    if (app.get_subcommands().empty()) fmt::print("{}", kFirstSteps);
    return 0;
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);  // --help, --version
    fmt::print(stderr, "trm: error: {}\n", e.what());
    return 2;
  } catch (const trm::cli::Exit& e) {
    return e.exit_code;
  } catch (const std::exception& e) {
    fmt::print(stderr, "trm: error: {}\n", e.what());
    return 1;
  }
}
