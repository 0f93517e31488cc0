// Mazes: walls, a start S, a goal G, and the shortest path that the data set marks with o.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "trm/data/grid.h"

namespace trm {

/// Tokens of the data set; 0 is padding.
enum MazeToken : uint8_t { kWall = 1, kOpen, kStart, kGoal, kPath };
constexpr std::string_view kMazeCharacters = "# SGo";

/// Reads a square maze of one character a cell (line ends between rows are optional). Throws
/// std::invalid_argument that names the character and its place, or the count that is no square.
Grid parse_maze(std::string_view text);
/// One line a row.
std::string to_text(const Grid& maze);

/// What keeps `maze` from being a question: not exactly one S and one G, o cells; "" when nothing.
std::string maze_problem(const Grid& maze);

/// Steps of the shortest path from S to G; nullopt when there is none.
std::optional<int> maze_distance(const Grid& maze);
/// Whether exactly one path from S to G is that short.
bool has_one_shortest_path(const Grid& maze);

/// The label of `maze`: the path of a breadth-first search from S that looks down, left, right, up
/// and keeps the first discoverer as parent (this reproduces every published label of Maze-Hard).
/// nullopt when G cannot be reached.
std::optional<Grid> solve_maze(const Grid& maze);

/// Whether the o cells of `answer` join S and G of `maze` as one of its shortest paths, walls
/// unchanged: the paper's criterion, of which there are usually many.
bool is_shortest_path(const Grid& maze, const Grid& answer);

/// Whether `answer` keeps the walls, S and G of `maze` and joins S and G by cells marked o; others
/// may be marked too.
bool joins_start_and_goal(const Grid& maze, const Grid& answer);

struct MazePair {
  Grid question, answer;
};

/// Maze number `index` of the stream `seed` (side up to 32): cells are walls with one chance
/// p ~ U(0.3, 0.5) a maze, S and G are random open cells, and only mazes whose shortest path has at
/// least `min_length` steps are kept. Throws std::runtime_error when none turns up.
MazePair generate_maze(int side, int min_length, uint64_t seed, uint64_t index);

}  // namespace trm
