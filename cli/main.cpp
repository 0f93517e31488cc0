// Dispatch to the subcommands, and the only place that catches.
#include <cstdio>
#include <exception>

#include <fmt/format.h>

#include "cli/commands.h"

int main(int argc, char** argv) {
  CLI::App app{"trm: Tiny Recursive Models on MLX"};
  app.set_version_flag("--version", "trm " TRM_VERSION);
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
  try {
    app.parse(argc, argv);
    if (app.get_subcommands().empty()) fmt::print("{}", app.help());
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
