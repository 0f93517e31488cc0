#include "trm/serve/puzzles.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "trm/data/maze.h"

namespace trm::serve {

namespace {

constexpr uint64_t kSeed = 2026;
constexpr int kMostSide = 32;  // that mazes are generated of

int side_of(const PuzzleFacts& facts) {
  return static_cast<int>(std::lround(std::sqrt(facts.cells)));
}

nlohmann::json sudokus(int size) {
  struct Choice {
    const char* name;
    int givens;  // 0: as few as the solution stays the only one with
    uint64_t index;
  };
  // The last four were found by rating the first 200,000 of the stream.
  std::vector<Choice> choices{{"Easy", 40, 0},       {"Medium", 30, 1},    {"Hard", 0, 2},
                              {"Very hard", 0, 113}, {"Extreme", 0, 7378}, {"Hardest", 0, 10964}};
  if (size != 9)
    choices = {{"Easy", size * size * 5 / 8, 0}, {"Medium", size * size / 2, 1}, {"Hard", 0, 2}};
  auto list = nlohmann::json::array();
  for (auto& c : choices) {
    auto puzzle = generate_sudoku(size, c.givens, kSeed, c.index).question;
    list.push_back({{"name", c.name},
                    {"puzzle", to_text(puzzle)},
                    {"givens", puzzle.givens()},
                    {"rating", std::round(10 * rate_sudoku(puzzle)) / 10}});
  }
  return list;
}

// A way of `sides` sides of the maze, but not more than from corner to corner: small mazes rarely
// have longer ones.
Grid maze(int side, double sides, uint64_t seed) {
  int steps = std::min(static_cast<int>(sides * side), 2 * (side - 1));
  return generate_maze(side, side < 20 ? std::max(1, steps) : static_cast<int>(sides * side), seed,
                       0)
      .question;
}

nlohmann::json mazes(int side) {
  auto list = nlohmann::json::array();
  if (side > kMostSide) return list;
  for (auto& [name, sides] : std::vector<std::pair<const char*, double>>{
           {"Short", 0.5}, {"Medium", 1.5}, {"Long", 2.5}, {"Very long", 3.7}}) {
    if (sides > 1.5 && side < 20) continue;
    auto grid = maze(side, sides, kSeed);
    list.push_back({{"name", name}, {"puzzle", to_text(grid)}, {"steps", *maze_distance(grid)}});
  }
  return list;
}

// Shows the page at work; the tasks that a model was trained on come from the user's files.
nlohmann::json arc_tasks() {
  auto pair = [](std::vector<std::vector<int>> input) {
    auto output = input;
    for (auto& row : output) std::reverse(row.begin(), row.end());
    return nlohmann::json{{"input", input}, {"output", output}};
  };
  return {{{"name", "A mirror (made for this page)"},
           {"puzzle",
            {{"train",
              {pair({{3, 0, 0}, {3, 3, 0}, {3, 0, 0}}),
               pair({{0, 1, 0, 0}, {1, 1, 0, 4}, {0, 1, 0, 0}})}},
             {"test", {pair({{2, 2, 0, 0}, {2, 0, 0, 5}, {2, 2, 2, 0}, {0, 0, 2, 0}})}}}}}};
}

}  // namespace

nlohmann::json puzzle_list(const PuzzleFacts& facts) {
  if (facts.kind == PuzzleKind::sudoku) return sudokus(side_of(facts));
  if (facts.kind == PuzzleKind::maze) return mazes(side_of(facts));
  return arc_tasks();
}

bool has_examples(const PuzzleFacts& facts) {
  return facts.kind == PuzzleKind::sudoku ||
         (facts.kind == PuzzleKind::maze && side_of(facts) <= kMostSide);
}

std::string example_puzzle(const PuzzleFacts& facts, uint64_t seed) {
  int side = side_of(facts);
  if (facts.kind == PuzzleKind::sudoku) return to_text(generate_sudoku(side, 0, seed, 0).question);
  return to_text(maze(side, 1.5, seed));
}

}  // namespace trm::serve
