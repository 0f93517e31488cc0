// trm solve: a puzzle in, its answer out, with the recursion shown on a terminal.
#include "cli/solve.h"

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <memory>

#include <fmt/format.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/progress.h"
#include "trm/data/json_file.h"
#include "trm/eval/load_model.h"
#include "trm/io/shipped_model.h"
#include "trm/io/text.h"
#include "trm/ops/cpu/threads.h"

namespace trm::cli {

namespace {

constexpr size_t kMostText = size_t{1} << 28;  // bytes

bool is_override(const std::string& word) {
  return word.starts_with("arch") && word.find('=') != std::string::npos;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines(1);
  for (char c : text) {
    if (c == '\n') {
      lines.emplace_back();
    } else if (c != '\r') {
      lines.back() += c;
    }
  }
  while (!lines.empty() && lines.back().empty()) lines.pop_back();
  return lines;
}

/// One maze drawn over several lines, or one a line. Open cells at the ends of lines may have been
/// lost to an editor.
void add_mazes(const std::string& text, std::vector<std::string>& mazes) {
  auto lines = lines_of(text);
  size_t width = 0;
  for (auto& line : lines) width = std::max(width, line.size());
  if (lines.size() != width) {
    for (auto& line : lines) {
      if (!line.empty()) mazes.push_back(line);
    }
    return;
  }
  std::string maze;
  for (auto& line : lines) maze += line + std::string(width - line.size(), ' ') + "\n";
  mazes.push_back(maze);
}

void add_sudokus(const std::string& text, std::vector<std::string>& sudokus) {
  for (auto& line : lines_of(text)) {
    while (!line.empty() && line.back() == ' ') line.pop_back();
    if (!line.empty()) sudokus.push_back(line);
  }
}

std::string read_stdin() {
  std::string text(std::istreambuf_iterator<char>(std::cin), {});
  if (text.size() > kMostText) throw std::invalid_argument("[solve] more than 256 MiB on stdin");
  return text;
}

std::vector<SolveText> inputs_of(const SolveOptions& o) {
  std::vector<SolveText> texts;
  for (auto& word : o.arguments) {
    std::error_code error;
    if (is_override(word)) continue;
    if (word == "-") {
      texts.push_back({"", read_stdin()});
    } else if (word.size() < 4096 && std::filesystem::is_regular_file(word, error)) {
      texts.push_back({word, read_text_file(word, kMostText)});
    } else if (word.find('/') != std::string::npos || word.ends_with(".json") ||
               word.ends_with(".txt") || word.ends_with(".csv")) {
      throw std::invalid_argument(fmt::format("[solve] {}: no such file", printable(word)));
    } else {
      texts.push_back({"", word});
    }
  }
  if (!texts.empty()) return texts;
  if (isatty(STDIN_FILENO)) {
    throw CLI::ValidationError(
        "trm solve needs a puzzle: as an argument, in a file, or one a line on stdin");
  }
  return {{"", read_stdin()}};
}

void run(const SolveOptions& o) {
  if (o.threads > 0) ops::set_threads(o.threads);
  std::vector<std::string> sudokus, mazes;
  std::vector<SolveText> tasks;
  for (auto& input : inputs_of(o)) {
    auto first = input.text.find_first_not_of(" \t\r\n");
    bool json =
        first != std::string::npos && (input.text[first] == '{' || input.text[first] == '[');
    if (json) {
      tasks.push_back(input);
    } else if (input.text.find_first_of("SG#") != std::string::npos) {
      add_mazes(input.text, mazes);
    } else {
      add_sudokus(input.text, sudokus);
    }
  }
  int kinds = !sudokus.empty() + !mazes.empty() + !tasks.empty();
  if (kinds == 0) throw std::invalid_argument("[solve] no puzzle on stdin");
  if (kinds > 1)
    throw std::invalid_argument("[solve] puzzles of several kinds: one model solves one");
  if (!sudokus.empty()) solve_sudokus(o, sudokus);
  if (!mazes.empty()) solve_mazes(o, mazes);
  if (!tasks.empty()) solve_arc(o, tasks);
}

}  // namespace

bool SolveOptions::draws() const { return grid || (isatty(STDOUT_FILENO) && !line && !json); }

double probability(float logit) { return 1.0 / (1.0 + std::exp(-static_cast<double>(logit))); }

Model load_solver(const SolveOptions& o, int cells) {
  std::vector<std::string> overrides;
  for (auto& word : o.arguments) {
    if (is_override(word)) overrides.push_back(word);
  }
  std::optional<std::filesystem::path> file;
  if (!o.checkpoint.empty()) {
    file = o.checkpoint;
  } else if (cells == 81) {
    file = shipped_model();
  }
  if (!file) {
    throw std::invalid_argument(
        cells == 81 ? "[solve] the weights that come with trm are not there (models/): name others "
                      "with --checkpoint"
                    : "[solve] trm comes with weights for 9x9 Sudoku only: name others with "
                      "--checkpoint");
  }
  auto loaded = load_model(*file, {overrides, cells, o.dtype});
  for (auto& note : loaded.notes) fmt::print(stderr, "note: {}\n", note);
  return loaded.model;
}

Evaluation solve_rows(const Model& model, const SolveOptions& o,
                      const std::vector<PuzzleRow>& puzzles, const EvaluateOptions& more) {
  RowBatches batches(puzzles, o.batch_size);
  auto options = more;
  options.steps = o.steps;
  options.halt = o.halt;
  options.keep_preds = true;
  return evaluate(
      model, [&] { return batches.next(); }, options);
}

void solve_in_parts(
    const SolveOptions& o, const std::vector<PuzzleRow>& puzzles,
    const std::function<void(const Model&, const std::vector<PuzzleRow>&, size_t)>& solve) {
  RowBatches of_one_size(puzzles, o.batch_size);
  auto model = load_solver(o, of_one_size.cells());
  ProgressLine line(stderr);
  auto count = static_cast<int64_t>(puzzles.size()), size = int64_t{4} * o.batch_size;
  bool shown = count > size && !isatty(STDOUT_FILENO);
  for (int64_t begin = 0; begin < count; begin += size) {
    if (shown) line.count("solving", begin, count);
    auto first = puzzles.begin() + begin;
    solve(model, {first, first + std::min(size, count - begin)}, static_cast<size_t>(begin));
    std::fflush(stdout);
  }
}

void print_steps(const PuzzleRow& puzzle, const Evaluation& e, size_t row, size_t steps) {
  fmt::print("step  changed  halt\n");
  auto cells = static_cast<size_t>(e.cells);
  for (size_t s = 0; s < steps; ++s) {
    const int32_t* now = &e.preds[s][row * cells];
    const int32_t* before = s == 0 ? puzzle.inputs.data() : &e.preds[s - 1][row * cells];
    int changed = 0;
    for (size_t i = 0; i < cells; ++i) changed += now[i] != before[i];
    double p = probability(e.q_halt[s][row]);
    fmt::print("{:>4}  {:>7}  {:4.0f}% {}\n", s + 1, changed, 100 * p,
               std::string(static_cast<size_t>(20 * p + 0.5), '#'));
  }
}

void write_picture(const SolveOptions& o, size_t index, size_t count, const Image& image) {
  if (o.png.empty()) return;
  std::filesystem::path path(o.png);
  if (count > 1) {
    auto name = fmt::format("{}_{}{}", path.stem().string(), index + 1, path.extension().string());
    path = path.parent_path() / name;
  }
  write_png(path, image);
}

void add_solve(CLI::App& app) {
  auto o = std::make_shared<SolveOptions>();
  auto* cmd = app.add_subcommand("solve", "Solve Sudoku, mazes and ARC tasks with a trained model");
  cmd->add_option(
      "--checkpoint", o->checkpoint,
      "PyTorch, .npz or .safetensors file (default: weights for 9x9 Sudoku that come with trm)");
  cmd->add_option(
      "puzzle", o->arguments,
      "Sudoku of 16, 36 or 81 characters, '.' or 0 for a blank; a square maze of '#', ' ', S and\n"
      "G; or a file: Sudoku or mazes one a line, one maze drawn over lines, or an ARC task's "
      "JSON.\n"
      "None or '-': stdin. arch.KEY=VALUE overrides the architecture");
  add_run_options(*cmd, *o);
  cmd->add_flag("--json", o->json, "One JSON object a line, with the answer of every step");
  cmd->add_flag("--grid", o->grid, "Draw also where the output is no terminal");
  cmd->add_flag("--line", o->line, "One line a puzzle also on a terminal");
  cmd->add_option(
      "--png", o->png,
      "Write a picture of puzzle and answer to this file (several: FILE_1, FILE_2, ...)");
  cmd->add_option(
      "--data", o->data,
      "ARC: the data set folder that the model was trained on, for its\n"
      "identifiers.json (default: data_paths of all_config.yaml beside the checkpoint)");
  cmd->add_option("--views", o->views,
                  "ARC: augmented forms of the task that vote at most (default 32); Sudoku: forms\n"
                  "of the puzzle tried, one after the other, until an answer obeys the rules\n"
                  "(default 8; 1: only the puzzle itself)")
      ->check(CLI::Range(1, 100000));
  cmd->footer(
      "Examples:\n"
      "  trm solve "
      "7.....8....2..5....3..6..9..7.6....1...1.3.7.....7.9.....4.2....9..3..1..2..1643.\n"
      "  trm solve --checkpoint step_6510 "
      "7.....8....2..5....3..6..9..7.6....1...1.3.7.....7.9.....4.2....9..3..1..2..1643.\n"
      "  trm solve --checkpoint model.npz < puzzles.txt > answers.txt\n"
      "  trm solve --checkpoint maze.npz maze.txt --png maze.png\n"
      "  trm solve --checkpoint arc.npz --data data/arc1concept-aug-1000 00576224.json");
  cmd->callback([o] { run(*o); });
}

}  // namespace trm::cli
