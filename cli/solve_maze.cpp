// trm solve: mazes.
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "cli/solve.h"
#include "trm/data/maze.h"
#include "trm/data/verdict.h"

namespace trm::cli {

namespace {

constexpr int kMostSide = 64;  // attention takes memory by the fourth power of the side

/// Without line ends.
std::string line_of(const Grid& maze) {
  auto text = to_text(maze);
  std::erase(text, '\n');
  return text;
}

/// Shows the answer of row `row` of `e`; the answer's tokens.
std::vector<int32_t> show_answer(const SolveOptions& o, const Grid& maze, const std::string& text,
                                 const PuzzleRow& puzzle, const Evaluation& e, size_t row) {
  auto at = row * static_cast<size_t>(e.cells);
  auto answer = answer_to(maze, &e.preds.back()[at]);
  double halt = probability(e.q_halt.back()[row]);
  std::vector<int32_t> tokens(answer.cells.begin(), answer.cells.end());
  if (o.json) {
    nlohmann::json steps = nlohmann::json::array();
    for (size_t s = 0; s < e.preds.size(); ++s) {
      steps.push_back({{"answer", line_of(answer_to(maze, &e.preds[s][at]))},
                       {"halt", probability(e.q_halt[s][row])}});
    }
    nlohmann::json line = {{"puzzle", line_of(maze)},
                           {"answer", line_of(answer)},
                           {"verdict", judge(maze, answer).text},
                           {"halt", halt},
                           {"steps", steps}};
    fmt::print("{}\n", line.dump());
  } else if (o.draws()) {
    print_steps(puzzle, e, row, e.preds.size());
    bool colours = isatty(STDOUT_FILENO);
    fmt::print("{}", answer_text(PuzzleKind::maze, puzzle.inputs, tokens, colours));
    fmt::print("{}; {} steps, halting probability {:.0f}%\n", judge(maze, answer).text,
               e.preds.size(), 100 * halt);
  } else {
    bool drawn = !o.line && text.find('\n') != std::string::npos;
    fmt::print("{}{}", drawn ? to_text(answer) : line_of(answer), drawn ? "" : "\n");
  }
  return tokens;
}

}  // namespace

void solve_mazes(const SolveOptions& o, const std::vector<std::string>& texts) {
  std::vector<Grid> mazes;
  std::vector<PuzzleRow> puzzles;
  for (size_t i = 0; i < texts.size(); ++i) {
    try {
      mazes.push_back(parse_maze(texts[i]));
      if (mazes.back().rows > kMostSide) {
        throw std::invalid_argument(fmt::format("[maze] a side of {} cells, at most {} are solved",
                                                mazes.back().rows, kMostSide));
      }
      if (auto why = maze_problem(mazes.back()); !why.empty())
        throw std::invalid_argument("[maze] " + why);
      puzzles.push_back(puzzle_row(MazePair{mazes.back(), mazes.back()}));
    } catch (const std::invalid_argument& e) {
      throw std::invalid_argument(fmt::format("maze {}: {}", i + 1, e.what()));
    }
  }
  solve_in_parts(o, puzzles, [&](const Model& model, const auto& part, size_t begin) {
    auto e = solve_rows(model, o, part);
    for (size_t row = 0; row < part.size(); ++row) {
      size_t i = begin + row;
      auto tokens = show_answer(o, mazes[i], texts[i], part[row], e, row);
      write_picture(o, i, mazes.size(), picture_image(PuzzleKind::maze, part[row].inputs, tokens));
    }
  });
}

}  // namespace trm::cli
