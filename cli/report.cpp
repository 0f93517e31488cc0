// trm report: one page that draws the curves of runs.
#include "trm/train/report.h"

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "cli/commands.h"
#include "trm/io/atomic_file.h"

namespace trm::cli {

void add_report(CLI::App& app) {
  struct Options {
    std::vector<std::string> runs;
    std::string output = "report.html";
  };
  auto o = std::make_shared<Options>();
  auto* c = app.add_subcommand("report", "Draw the curves of training runs as one HTML page");
  c->add_option("run", o->runs, "Run folders, or metrics.jsonl files")->required();
  c->add_option("-o,--output", o->output, "The page to write")->capture_default_str();
  c->footer(R"(
Examples:
  trm report checkpoints/Sudoku-4x4-ACT-mlx/first
  trm report checkpoints/Sudoku-4x4-ACT-mlx/* -o compare.html)");
  c->callback([o] {
    write_file_atomically(o->output, report_page({o->runs.begin(), o->runs.end()}));
    fmt::print("{}\n", o->output);
  });
}

}  // namespace trm::cli
