// One function a subcommand, each in the file of its name: it adds its options and what to run.
#pragma once

#include <CLI/CLI.hpp>

namespace trm::cli {

/// Ends the program with `exit_code` after the command has said why itself.
struct Exit {
  int exit_code;
};

void add_dataset(CLI::App& app);
void add_dataset_info(CLI::App& dataset);  // a part of add_dataset
void add_convert(CLI::App& app);
void add_inspect(CLI::App& app);
void add_eval(CLI::App& app);
void add_solve(CLI::App& app);
void add_completion(CLI::App& app);
void add_serve(CLI::App& app);
void add_pretrain(CLI::App& app);
void add_report(CLI::App& app);
void add_selftest(CLI::App& app);
void add_bench(CLI::App& app);

/// The program's version and what it runs on, a line each.
std::string version();

}  // namespace trm::cli
