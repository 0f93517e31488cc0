#include "trm/eval/scores.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "trm/data/maze.h"
#include "trm/data/sudoku.h"

namespace trm {

namespace {

AnswerCheck check_sudoku(const int32_t* input, const int32_t* answer, int cells) {
  Sudoku question, filled;
  question.size = filled.size = cells == 16 ? 4 : cells == 36 ? 6 : 9;
  for (int i = 0; i < cells; ++i) {
    auto at = static_cast<size_t>(i);
    if (answer[i] < 2 || answer[i] > filled.size + 1) return {};
    if (input[i] >= 2 && input[i] != answer[i]) return {};
    filled.cells[at] = static_cast<uint8_t>(answer[i] - 1);
  }
  return {is_solved(filled), false};
}

AnswerCheck check_maze(const int32_t* input, const int32_t* answer, int cells) {
  int side = static_cast<int>(std::lround(std::sqrt(static_cast<double>(cells))));
  auto grid = [&](const int32_t* tokens) {
    Grid g{side, side, {}};
    for (int i = 0; i < cells; ++i) {
      g.cells.push_back(static_cast<uint8_t>(std::clamp(tokens[i], 0, 255)));
    }
    return g;
  };
  Grid maze = grid(input), marked = grid(answer);
  if (!maze_problem(maze).empty()) return {};
  return {joins_start_and_goal(maze, marked), is_shortest_path(maze, marked)};
}

}  // namespace

std::pair<double, double> wilson_interval(int64_t successes, int64_t n) {
  if (n == 0) return {0.0, 1.0};
  constexpr double z = 1.959963984540054;  // the 97.5 % quantile of the normal distribution
  auto rows = static_cast<double>(n);
  double p = static_cast<double>(successes) / rows, z2 = z * z / rows;
  double centre = (p + z2 / 2) / (1 + z2);
  double half = z / (1 + z2) * std::sqrt(p * (1 - p) / rows + z2 / (4 * rows));
  return {std::max(0.0, centre - half), std::min(1.0, centre + half)};
}

AnswerCheck check_answer(PuzzleKind kind, const int32_t* input, const int32_t* answer, int cells) {
  if (kind == PuzzleKind::sudoku) return check_sudoku(input, answer, cells);
  if (kind == PuzzleKind::maze) return check_maze(input, answer, cells);
  return {};
}

void RatingTable::add(int64_t rating, bool is_exact) {
  auto after = std::upper_bound(kRatingClasses.begin() + 1, kRatingClasses.end(), rating);
  auto index = static_cast<size_t>(after - kRatingClasses.begin() - 1);
  rows[index] += 1;
  exact[index] += is_exact;
}

std::string rating_class(size_t index) {
  int64_t from = kRatingClasses.at(index);
  if (index + 1 == kRatingClasses.size()) return fmt::format("{}-", from);
  int64_t to = kRatingClasses[index + 1] - 1;
  return from == to ? std::to_string(from) : fmt::format("{}-{}", from, to);
}

}  // namespace trm
