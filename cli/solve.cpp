// trm solve: Sudoku in, solution out, with the recursion shown on a terminal.
#include <cmath>
#include <cstdio>
#include <iostream>
#include <memory>

#include <fmt/color.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/run_options.h"
#include "trm/eval/evaluate.h"
#include "trm/eval/load_model.h"
#include "trm/eval/row_batches.h"
#include "trm/ops/cpu/threads.h"

namespace trm::cli {

namespace {

struct Options : RunOptions {
  std::string checkpoint;
  std::vector<std::string> arguments;  // puzzles, and overrides (with a '=')
  bool json = false, grid = false, line = false;
};

std::vector<std::string> read_lines(std::istream& in) {
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) {
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.pop_back();
    if (!line.empty()) lines.push_back(line);
  }
  return lines;
}

Sudoku parse(const std::string& text) {
  auto puzzle = parse_sudoku(text);
  auto conflict = first_conflict(puzzle);
  if (!conflict.empty()) {
    throw std::invalid_argument(fmt::format("[solve] contradictory givens: {}", conflict));
  }
  return puzzle;
}

Sudoku grid_of(const Sudoku& question, const int32_t* tokens) {
  Sudoku answer = question;
  for (int i = 0; i < question.count(); ++i) {
    int digit = tokens[i] - 1;
    answer.cells[i] = static_cast<uint8_t>(digit >= 1 && digit <= question.size ? digit : 0);
  }
  return answer;
}

// Given digits bold, the model's own in colour, breaches of the rules seen from the verdict line.
void print_grid(const Sudoku& question, const Sudoku& answer) {
  int n = question.size, rows = question.box_rows(), columns = question.box_columns();
  bool color = isatty(STDOUT_FILENO);
  std::string rule = "+";
  for (int c = 0; c < n / columns; ++c) rule += std::string(2 * columns + 1, '-') + "+";
  for (int r = 0; r < n; ++r) {
    if (r % rows == 0) fmt::print("{}\n", rule);
    for (int c = 0; c < n; ++c) {
      int i = r * n + c;
      auto text = answer.cells[i] ? std::to_string(answer.cells[i]) : ".";
      auto style = question.cells[i] ? fmt::emphasis::bold | fmt::fg(fmt::terminal_color::white)
                                     : fmt::text_style(fmt::fg(fmt::terminal_color::green));
      if (answer.cells[i] != question.cells[i] && question.cells[i]) {
        style = fmt::text_style(fmt::fg(fmt::terminal_color::red));
      }
      if (c % columns == 0) fmt::print("| ");
      fmt::print("{} ", fmt::styled(text, color ? style : fmt::text_style()));
    }
    fmt::print("|\n");
  }
  fmt::print("{}\n", rule);
}

std::string verdict(const Sudoku& question, const Sudoku& answer) {
  if (!keeps_givens(question, answer)) return "wrong: it changes a given";
  if (is_solved(answer)) return "solved";
  auto conflict = first_conflict(answer);
  return "wrong: " + (conflict.empty() ? std::string("cells are left blank") : conflict);
}

double probability(float logit) { return 1.0 / (1.0 + std::exp(-static_cast<double>(logit))); }

void print_steps(const Sudoku& question, const Evaluation& e, size_t row) {
  fmt::print("step  changed  halt\n");
  const int cells = e.cells;
  for (size_t s = 0; s < e.preds.size(); ++s) {
    const int32_t* now = &e.preds[s][row * cells];
    int changed = 0;
    for (int i = 0; i < cells; ++i) {
      int before = s == 0 ? question.cells[i] + 1 : e.preds[s - 1][row * cells + i];
      changed += now[i] != before;
    }
    double p = probability(e.q_halt[s][row]);
    fmt::print("{:>4}  {:>7}  {:4.0f}% {}\n", s + 1, changed, 100 * p,
               std::string(static_cast<size_t>(20 * p + 0.5), '#'));
  }
}

void run(const Options& o) {
  if (o.threads > 0) ops::set_threads(o.threads);
  std::vector<std::string> overrides, lines;
  for (auto& a : o.arguments) (a.find('=') == std::string::npos ? lines : overrides).push_back(a);
  if (lines.empty() || (lines.size() == 1 && lines[0] == "-")) {
    if (lines.empty() && isatty(STDIN_FILENO)) {
      throw CLI::ValidationError(
          "trm solve needs a puzzle: as an argument, or one a line on stdin");
    }
    lines = read_lines(std::cin);
  }
  std::vector<SudokuPair> pairs;
  std::vector<PuzzleRow> puzzles;
  for (size_t i = 0; i < lines.size(); ++i) {
    try {
      auto puzzle = parse(lines[i]);
      pairs.push_back({puzzle, puzzle});
      puzzles.push_back(puzzle_row(pairs.back()));
    } catch (const std::invalid_argument& e) {
      throw std::invalid_argument(fmt::format("puzzle {}: {}", i + 1, e.what()));
    }
  }
  if (pairs.empty()) throw std::invalid_argument("[solve] no puzzle on stdin");
  RowBatches batches(puzzles, o.batch_size);
  auto loaded = load_model(o.checkpoint, {overrides, batches.cells(), o.dtype});
  for (auto& note : loaded.notes) fmt::print(stderr, "note: {}\n", note);

  EvaluateOptions options;
  options.steps = o.steps;
  options.halt = o.halt;
  options.keep_preds = true;
  auto e = evaluate(
      loaded.model, [&] { return batches.next(); }, options);

  bool pretty = o.grid || (isatty(STDOUT_FILENO) && !o.line && !o.json);
  for (size_t row = 0; row < pairs.size(); ++row) {
    const auto& question = pairs[row].question;
    auto answer = grid_of(question, &e.preds.back()[row * e.cells]);
    double halt = probability(e.q_halt.back()[row]);
    if (o.json) {
      nlohmann::json steps = nlohmann::json::array();
      for (size_t s = 0; s < e.preds.size(); ++s) {
        steps.push_back({{"answer", to_text(grid_of(question, &e.preds[s][row * e.cells]))},
                         {"halt", probability(e.q_halt[s][row])}});
      }
      nlohmann::json line = {{"puzzle", to_text(question)},
                             {"answer", to_text(answer)},
                             {"verdict", verdict(question, answer)},
                             {"halt", halt},
                             {"steps", steps}};
      fmt::print("{}\n", line.dump());
    } else if (pretty) {
      print_steps(question, e, row);
      print_grid(question, answer);
      fmt::print("{} after {} steps, halting probability {:.0f}%\n", verdict(question, answer),
                 e.preds.size(), 100 * halt);
    } else {
      fmt::print("{}\n", to_text(answer));
    }
  }
}

}  // namespace

void add_solve(CLI::App& app) {
  auto o = std::make_shared<Options>();
  auto* cmd = app.add_subcommand("solve", "Solve Sudoku with a trained model");
  cmd->add_option("--checkpoint", o->checkpoint, "PyTorch, .npz or .safetensors file")->required();
  cmd->add_option(
      "puzzle", o->arguments,
      "Sudoku of 16, 36 or 81 characters, '.' or 0 for a blank; none or '-': one a line "
      "on stdin; arch.KEY=VALUE overrides the architecture");
  add_run_options(*cmd, *o);
  cmd->add_flag("--json", o->json, "One JSON object a line, with the answer of every step");
  cmd->add_flag("--grid", o->grid, "Draw the grid also where the output is no terminal");
  cmd->add_flag("--line", o->line, "One line a puzzle also on a terminal");
  cmd->footer(
      "Examples:\n"
      "  trm solve --checkpoint step_6510 "
      "7.....8....2..5....3..6..9..7.6....1...1.3.7.....7.9.....4.2....9..3..1..2..1643.\n"
      "  trm solve --checkpoint model.npz < puzzles.txt > answers.txt");
  cmd->callback([o] { run(*o); });
}

}  // namespace trm::cli
