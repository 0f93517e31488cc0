// trm solve: Sudoku.
#include <fmt/color.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "cli/solve.h"

namespace trm::cli {

namespace {

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

nlohmann::json to_json(const Sudoku& question, const Evaluation& e, size_t row) {
  nlohmann::json steps = nlohmann::json::array();
  auto at = row * static_cast<size_t>(e.cells);
  for (size_t s = 0; s < e.preds.size(); ++s) {
    steps.push_back({{"answer", to_text(grid_of(question, &e.preds[s][at]))},
                     {"halt", probability(e.q_halt[s][row])}});
  }
  auto answer = grid_of(question, &e.preds.back()[at]);
  return {{"puzzle", to_text(question)},
          {"answer", to_text(answer)},
          {"verdict", verdict(question, answer)},
          {"halt", probability(e.q_halt.back()[row])},
          {"steps", steps}};
}

}  // namespace

void solve_sudokus(const SolveOptions& o, const std::vector<std::string>& lines) {
  std::vector<Sudoku> questions;
  std::vector<PuzzleRow> puzzles;
  for (size_t i = 0; i < lines.size(); ++i) {
    try {
      questions.push_back(parse(lines[i]));
      puzzles.push_back(puzzle_row({questions.back(), questions.back()}));
    } catch (const std::invalid_argument& e) {
      throw std::invalid_argument(fmt::format("puzzle {}: {}", i + 1, e.what()));
    }
  }
  auto e = solve_rows(o, puzzles);
  for (size_t row = 0; row < questions.size(); ++row) {
    const auto& question = questions[row];
    auto answer = grid_of(question, &e.preds.back()[row * static_cast<size_t>(e.cells)]);
    if (o.json) {
      fmt::print("{}\n", to_json(question, e, row).dump());
    } else if (o.draws()) {
      print_steps(puzzles[row], e, row);
      print_grid(question, answer);
      fmt::print("{} after {} steps, halting probability {:.0f}%\n", verdict(question, answer),
                 e.preds.size(), 100 * probability(e.q_halt.back()[row]));
    } else {
      fmt::print("{}\n", to_text(answer));
    }
    auto drawn = puzzle_row({question, answer});
    write_picture(o, row, questions.size(),
                  picture_image(PuzzleKind::sudoku, drawn.inputs, drawn.labels));
  }
}

}  // namespace trm::cli
