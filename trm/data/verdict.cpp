#include "trm/data/verdict.h"

#include <algorithm>

#include <fmt/format.h>

#include "trm/data/maze.h"

namespace trm {

Sudoku answer_to(const Sudoku& question, const int32_t* tokens) {
  Sudoku answer = question;
  for (int i = 0; i < question.count(); ++i) {
    int digit = tokens[i] - 1;
    answer.cells[i] = static_cast<uint8_t>(digit >= 1 && digit <= question.size ? digit : 0);
  }
  return answer;
}

Grid answer_to(const Grid& maze, const int32_t* tokens) {
  Grid answer = maze;
  for (size_t i = 0; i < answer.cells.size(); ++i) {
    answer.cells[i] = static_cast<uint8_t>(std::clamp(tokens[i], 0, 255));
  }
  return answer;
}

Verdict judge(const Sudoku& question, const Sudoku& answer) {
  if (!keeps_givens(question, answer)) return {false, "wrong: it changes a given"};
  if (is_solved(answer)) return {true, "solved"};
  auto conflict = first_conflict(answer);
  return {false, "wrong: " + (conflict.empty() ? std::string("cells are left blank") : conflict)};
}

Verdict judge(const Grid& maze, const Grid& answer) {
  auto shortest = maze_distance(maze);
  if (!shortest) return {false, "no path from S to G exists"};
  if (is_shortest_path(maze, answer)) {
    return {true, fmt::format("solved: a shortest path, {} steps", *shortest)};
  }
  if (joins_start_and_goal(maze, answer)) {
    return {false, fmt::format("valid, but more cells are marked than a shortest path of {} steps "
                               "has",
                               *shortest)};
  }
  for (size_t i = 0; i < maze.cells.size(); ++i) {
    bool marked = answer.cells[i] == kPath && maze.cells[i] == kOpen;
    if (!marked && answer.cells[i] != maze.cells[i]) return {false, "wrong: it changes the maze"};
  }
  return {false, "wrong: the marked cells do not join S and G"};
}

}  // namespace trm
