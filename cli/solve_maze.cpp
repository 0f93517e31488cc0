// trm solve: mazes.
#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "cli/solve.h"
#include "trm/data/maze.h"

namespace trm::cli {

namespace {

constexpr int kMostSide = 64;  // attention takes memory by the fourth power of the side

/// The model's cells; what is no maze cell shows as '?'.
Grid grid_of(const Grid& maze, const int32_t* tokens) {
  Grid answer = maze;
  for (size_t i = 0; i < answer.cells.size(); ++i) {
    answer.cells[i] = static_cast<uint8_t>(std::clamp(tokens[i], 0, 255));
  }
  return answer;
}

std::string verdict(const Grid& maze, const Grid& answer) {
  auto shortest = maze_distance(maze);
  if (!shortest) return "no path from S to G exists";
  if (is_shortest_path(maze, answer))
    return fmt::format("solved: a shortest path, {} steps", *shortest);
  if (joins_start_and_goal(maze, answer)) {
    return fmt::format("valid, but more cells are marked than a shortest path of {} steps has",
                       *shortest);
  }
  for (size_t i = 0; i < maze.cells.size(); ++i) {
    bool marked = answer.cells[i] == kPath && maze.cells[i] == kOpen;
    if (!marked && answer.cells[i] != maze.cells[i]) return "wrong: it changes the maze";
  }
  return "wrong: the marked cells do not join S and G";
}

/// Without line ends.
std::string line_of(const Grid& maze) {
  auto text = to_text(maze);
  std::erase(text, '\n');
  return text;
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
  auto e = solve_rows(load_solver(o, static_cast<int>(puzzles[0].inputs.size())), o, puzzles);
  for (size_t row = 0; row < mazes.size(); ++row) {
    const auto& maze = mazes[row];
    auto at = row * static_cast<size_t>(e.cells);
    auto answer = grid_of(maze, &e.preds.back()[at]);
    double halt = probability(e.q_halt.back()[row]);
    std::vector<int32_t> tokens(answer.cells.begin(), answer.cells.end());
    if (o.json) {
      nlohmann::json steps = nlohmann::json::array();
      for (size_t s = 0; s < e.preds.size(); ++s) {
        steps.push_back({{"answer", line_of(grid_of(maze, &e.preds[s][at]))},
                         {"halt", probability(e.q_halt[s][row])}});
      }
      nlohmann::json line = {{"puzzle", line_of(maze)},
                             {"answer", line_of(answer)},
                             {"verdict", verdict(maze, answer)},
                             {"halt", halt},
                             {"steps", steps}};
      fmt::print("{}\n", line.dump());
    } else if (o.draws()) {
      print_steps(puzzles[row], e, row, e.preds.size());
      bool colours = isatty(STDOUT_FILENO);
      fmt::print("{}", answer_text(PuzzleKind::maze, puzzles[row].inputs, tokens, colours));
      fmt::print("{}; {} steps, halting probability {:.0f}%\n", verdict(maze, answer),
                 e.preds.size(), 100 * halt);
    } else {
      bool drawn = !o.line && texts[row].find('\n') != std::string::npos;
      fmt::print("{}{}", drawn ? to_text(answer) : line_of(answer), drawn ? "" : "\n");
    }
    write_picture(o, row, mazes.size(),
                  picture_image(PuzzleKind::maze, puzzles[row].inputs, tokens));
  }
}

}  // namespace trm::cli
