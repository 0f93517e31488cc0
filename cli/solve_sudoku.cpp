// trm solve: Sudoku.
#include <map>
#include <span>

#include <fmt/color.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "cli/solve.h"
#include "trm/data/verdict.h"
#include "trm/eval/attempts.h"
#include "trm/eval/scores.h"

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

/// Steps until the answer obeyed the rules; all if it never did.
size_t steps_used(const Sudoku& question, const Evaluation& e, size_t row) {
  for (size_t s = 0; s < e.preds.size(); ++s) {
    auto answer = answer_to(question, &e.preds[s][row * static_cast<size_t>(e.cells)]);
    if (judge(question, answer).solved) return s + 1;
  }
  return e.preds.size();
}

/// Answers from symmetric forms of the puzzles that the model left unsolved, by index; only those
/// that obey the rules.
std::map<size_t, Sudoku> try_other_forms(const Model& model, const SolveOptions& o,
                                         std::span<const Sudoku> questions,
                                         const std::vector<PuzzleRow>& puzzles,
                                         const Evaluation& e) {
  std::vector<size_t> open;
  std::vector<PuzzleRow> left;
  for (size_t row = 0; row < questions.size(); ++row) {
    auto answer = answer_to(questions[row], &e.preds.back()[row * static_cast<size_t>(e.cells)]);
    if (judge(questions[row], answer).solved) continue;
    open.push_back(row);
    left.push_back(puzzles[row]);
  }
  std::map<size_t, Sudoku> solved;
  AttemptOptions attempts;
  attempts.select = Select::rules;
  attempts.views = o.views.value_or(8);
  attempts.from = 1;  // the puzzle itself was the first
  if (open.empty() || attempts.views < 2) return solved;
  EvaluateOptions options;
  options.steps = o.steps;
  size_t next = 0;
  options.on_answer = [&](const Batch&, int, const int32_t* preds, float, bool) {
    size_t row = open[next++];
    auto answer = answer_to(questions[row], preds);
    if (judge(questions[row], answer).solved) solved.emplace(row, answer);
  };
  RowBatches batches(left, o.batch_size);
  evaluate(
      model, [&] { return batches.next(); }, attempts, options);
  return solved;
}

nlohmann::json to_json(const Sudoku& question, const Sudoku& answer, const Evaluation& e,
                       size_t row, size_t used) {
  nlohmann::json steps = nlohmann::json::array();
  auto at = row * static_cast<size_t>(e.cells);
  for (size_t s = 0; s < used; ++s) {
    steps.push_back({{"answer", to_text(answer_to(question, &e.preds[s][at]))},
                     {"halt", probability(e.q_halt[s][row])}});
  }
  return {{"puzzle", to_text(question)},
          {"answer", to_text(answer)},
          {"verdict", judge(question, answer).text},
          {"halt", probability(e.q_halt.back()[row])},
          {"steps", steps}};
}

/// `first`: the index among all `count` puzzles of the first of these.
void solve_part(const SolveOptions& o, const Model& model, std::span<const Sudoku> questions,
                const std::vector<PuzzleRow>& puzzles, size_t first, size_t count) {
  EvaluateOptions run;
  run.done = [](const Batch& batch, int row, const int32_t* preds) {
    auto* question = &batch.inputs[static_cast<size_t>(row) * static_cast<size_t>(batch.seq_len)];
    return check_answer(PuzzleKind::sudoku, question, preds, batch.seq_len).valid;
  };
  auto e = solve_rows(model, o, puzzles, run);
  auto later = try_other_forms(model, o, questions, puzzles, e);
  for (size_t row = 0; row < questions.size(); ++row) {
    const auto& question = questions[row];
    size_t steps = steps_used(question, e, row);
    auto answer = answer_to(question, &e.preds.back()[row * static_cast<size_t>(e.cells)]);
    bool other_form = later.contains(row);
    if (other_form) answer = later.at(row);
    if (o.json) {
      fmt::print("{}\n", to_json(question, answer, e, row, steps).dump());
    } else if (o.draws()) {
      print_steps(puzzles[row], e, row, steps);
      print_grid(question, answer);
      if (other_form) {
        fmt::print("{} from another form of the puzzle\n", judge(question, answer).text);
      } else {
        fmt::print("{} after {} step{}, halting probability {:.0f}%\n",
                   judge(question, answer).text, steps, steps == 1 ? "" : "s",
                   100 * probability(e.q_halt.back()[row]));
      }
    } else {
      fmt::print("{}\n", to_text(answer));
    }
    auto drawn = puzzle_row({question, answer});
    write_picture(o, first + row, count,
                  picture_image(PuzzleKind::sudoku, drawn.inputs, drawn.labels));
  }
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
  solve_in_parts(o, puzzles, [&](const Model& model, const auto& part, size_t begin) {
    solve_part(o, model, std::span(questions).subspan(begin, part.size()), part, begin,
               questions.size());
  });
}

}  // namespace trm::cli
