// The options that eval and solve share: how a model is run.
#pragma once

#include <optional>
#include <string>

#include <CLI/CLI.hpp>

#include "trm/eval/evaluate.h"

namespace trm::cli {

struct RunOptions {
  std::optional<std::string> dtype;
  std::optional<int> steps;
  int batch_size = 64, threads = 0;  // threads 0: the machine's
  Halt halt = Halt::none;
};

/// Adds them to `command`; `options` must outlive the parsing.
void add_run_options(CLI::App& command, RunOptions& options);

}  // namespace trm::cli
