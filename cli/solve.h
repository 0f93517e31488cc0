// What the parts of trm solve share.
#pragma once

#include <string>
#include <vector>

#include "cli/run_options.h"
#include "trm/data/picture.h"
#include "trm/eval/row_batches.h"

namespace trm::cli {

struct SolveOptions : RunOptions {
  std::string checkpoint, png, data;
  std::vector<std::string> arguments;  // puzzles, files of them, and overrides (arch.…=)
  int views = 32;                      // ARC: augmented forms that vote
  bool json = false, grid = false, line = false;

  /// Whether to draw: on a terminal unless lines are asked for.
  bool draws() const;
};

/// A piece of input: what stands in one argument, file or in stdin.
struct SolveText {
  std::string name;  // of the file; "" for others
  std::string text;
};

/// Loads the model and runs it on `puzzles`; every step is kept. Overrides are taken from the
/// options' arguments.
Evaluation solve_rows(const SolveOptions& options, const std::vector<PuzzleRow>& puzzles,
                      const EvaluateOptions& more = {});

double probability(float logit);
/// "step changed halt", one line a step.
void print_steps(const PuzzleRow& puzzle, const Evaluation& e, size_t row);
/// Writes --png, numbered where there are several (`count`); nothing without the option.
void write_picture(const SolveOptions& options, size_t index, size_t count, const Image& image);

void solve_sudokus(const SolveOptions& options, const std::vector<std::string>& lines);
void solve_mazes(const SolveOptions& options, const std::vector<std::string>& mazes);
void solve_arc(const SolveOptions& options, const std::vector<SolveText>& files);

}  // namespace trm::cli
