// What the parts of trm solve share.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cli/run_options.h"
#include "trm/data/picture.h"
#include "trm/eval/row_batches.h"

namespace trm::cli {

struct SolveOptions : RunOptions {
  std::string checkpoint, png, data;   // checkpoint empty: the weights that come with the program
  std::vector<std::string> arguments;  // puzzles, files of them, and overrides (arch.…=)
  std::optional<int> views;            // forms of a puzzle: tried (Sudoku) or voting (ARC)
  bool json = false, grid = false, line = false;

  /// Whether to draw: on a terminal unless lines are asked for.
  bool draws() const;
};

/// A piece of input: what stands in one argument, file or in stdin.
struct SolveText {
  std::string name;  // of the file; "" for others
  std::string text;
};

/// Loads the model for puzzles of this many cells; overrides are taken from the options' arguments.
Model load_solver(const SolveOptions& options, int cells);
/// Runs the model on `puzzles`; every step is kept.
Evaluation solve_rows(const Model& model, const SolveOptions& options,
                      const std::vector<PuzzleRow>& puzzles, const EvaluateOptions& more = {});
/// Loads the model and calls `solve` for a few batches of `puzzles` at a time, the first of them
/// being puzzles[begin], so that answers appear while others are sought. On stderr: how far it is,
/// unless the answers show that on a terminal. Throws std::invalid_argument, before the first
/// answer, for puzzles of several sizes.
void solve_in_parts(const SolveOptions& options, const std::vector<PuzzleRow>& puzzles,
                    const std::function<void(const Model&, const std::vector<PuzzleRow>& part,
                                             size_t begin)>& solve);

double probability(float logit);
/// "step changed halt", one line for each of the first `steps`.
void print_steps(const PuzzleRow& puzzle, const Evaluation& e, size_t row, size_t steps);
/// Writes --png, numbered where there are several (`count`); nothing without the option.
void write_picture(const SolveOptions& options, size_t index, size_t count, const Image& image);

void solve_sudokus(const SolveOptions& options, const std::vector<std::string>& lines);
void solve_mazes(const SolveOptions& options, const std::vector<std::string>& mazes);
void solve_arc(const SolveOptions& options, const std::vector<SolveText>& files);

}  // namespace trm::cli
