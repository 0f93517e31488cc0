#include "trm/data/maze.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <stdexcept>

#include <fmt/format.h>

#include "trm/io/text.h"

namespace trm {

namespace {

size_t find_token(const Grid& maze, uint8_t token) {
  return static_cast<size_t>(std::find(maze.cells.begin(), maze.cells.end(), token) -
                             maze.cells.begin());
}

/// Breadth-first search from S; parents and distances by cell, -1 where unreached.
struct Flood {
  std::vector<int32_t> parent, distance;
  std::vector<uint8_t> several;  // whether more than one shortest path leads there
  explicit Flood(const Grid& maze)
      : parent(maze.cells.size(), -1),
        distance(maze.cells.size(), -1),
        several(maze.cells.size(), 0) {
    auto start = static_cast<int32_t>(find_token(maze, kStart));
    std::vector<int32_t> queue{start};
    distance[static_cast<size_t>(start)] = 0;
    for (size_t head = 0; head < queue.size(); ++head) {
      int32_t cell = queue[head];
      int r = cell / maze.columns, c = cell % maze.columns;
      constexpr int kSteps[4][2] = {{1, 0}, {0, -1}, {0, 1}, {-1, 0}};
      for (auto& step : kSteps) {
        int nr = r + step[0], nc = c + step[1];
        if (nr < 0 || nc < 0 || nr >= maze.rows || nc >= maze.columns) continue;
        auto next = static_cast<size_t>(nr * maze.columns + nc);
        auto from = static_cast<size_t>(cell);
        if (distance[next] == distance[from] + 1) several[next] = 1;
        if (maze.cells[next] == kWall || distance[next] >= 0) continue;
        distance[next] = distance[from] + 1;
        several[next] = several[from];
        parent[next] = cell;
        queue.push_back(static_cast<int32_t>(next));
      }
    }
  }
};

bool lacks_ends(const Grid& maze) {
  return find_token(maze, kStart) == maze.cells.size() ||
         find_token(maze, kGoal) == maze.cells.size();
}

}  // namespace

Grid parse_maze(std::string_view text) {
  Grid maze;
  size_t width = 0, row_start = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\n' || text[i] == '\r') {
      size_t length = maze.cells.size() - row_start;
      if (length == 0) continue;
      if (width == 0) width = length;
      if (length != width) {
        throw std::invalid_argument(fmt::format("[maze] row {} has {} cells and the first has {}",
                                                row_start / width + 1, length, width));
      }
      row_start = maze.cells.size();
      continue;
    }
    size_t token = kMazeCharacters.find(text[i]);
    if (token == std::string_view::npos) {
      throw std::invalid_argument(
          fmt::format("[maze] character {} is '{}': '#', ' ', 'S', 'G' and 'o' are understood",
                      i + 1, printable(text.substr(i, 1))));
    }
    maze.cells.push_back(static_cast<uint8_t>(token + 1));
  }
  auto side = static_cast<int>(std::lround(std::sqrt(static_cast<double>(maze.cells.size()))));
  if (maze.cells.empty() ||
      static_cast<size_t>(side) * static_cast<size_t>(side) != maze.cells.size() ||
      (width != 0 && width != static_cast<size_t>(side))) {
    throw std::invalid_argument(
        fmt::format("[maze] {} cells do not make a square maze", maze.cells.size()));
  }
  maze.rows = maze.columns = side;
  return maze;
}

std::string to_text(const Grid& maze) {
  std::string text;
  for (int r = 0; r < maze.rows; ++r) {
    for (int c = 0; c < maze.columns; ++c) {
      uint8_t token = maze.at(r, c);
      text += token >= 1 && token <= kMazeCharacters.size() ? kMazeCharacters[token - 1u] : '?';
    }
    text += '\n';
  }
  return text;
}

std::string maze_problem(const Grid& maze) {
  auto count = [&](uint8_t token) {
    return std::count(maze.cells.begin(), maze.cells.end(), token);
  };
  if (count(kStart) != 1) return fmt::format("{} cells are S, one is needed", count(kStart));
  if (count(kGoal) != 1) return fmt::format("{} cells are G, one is needed", count(kGoal));
  if (count(kPath) != 0) return "path cells (o) stand in the question";
  return "";
}

std::optional<int> maze_distance(const Grid& maze) {
  if (lacks_ends(maze)) return std::nullopt;
  int d = Flood(maze).distance[find_token(maze, kGoal)];
  return d < 0 ? std::nullopt : std::optional(d);
}

bool has_one_shortest_path(const Grid& maze) {
  if (lacks_ends(maze)) return false;
  Flood flood(maze);
  size_t goal = find_token(maze, kGoal);
  return flood.distance[goal] >= 0 && !flood.several[goal];
}

std::optional<Grid> solve_maze(const Grid& maze) {
  if (lacks_ends(maze)) return std::nullopt;
  Flood flood(maze);
  size_t goal = find_token(maze, kGoal);
  if (flood.distance[goal] < 0) return std::nullopt;
  Grid out = maze;
  size_t start = find_token(maze, kStart);
  for (auto cell = static_cast<size_t>(flood.parent[goal]); cell != start;
       cell = static_cast<size_t>(flood.parent[cell])) {
    out.cells[cell] = kPath;
  }
  return out;
}

namespace {

/// `maze` with only those open cells left that `answer` marks; nullopt where it differs otherwise.
std::optional<Grid> marked_corridor(const Grid& maze, const Grid& answer) {
  if (answer.cells.size() != maze.cells.size() || answer.columns != maze.columns) {
    return std::nullopt;
  }
  Grid corridor = maze;
  for (size_t i = 0; i < maze.cells.size(); ++i) {
    bool marked = answer.cells[i] == kPath && maze.cells[i] == kOpen;
    if (!marked && answer.cells[i] != maze.cells[i]) return std::nullopt;
    if (maze.cells[i] == kOpen && !marked) corridor.cells[i] = kWall;
  }
  return corridor;
}

}  // namespace

bool joins_start_and_goal(const Grid& maze, const Grid& answer) {
  auto corridor = marked_corridor(maze, answer);
  return corridor && maze_distance(*corridor).has_value();
}

bool is_shortest_path(const Grid& maze, const Grid& answer) {
  auto corridor = marked_corridor(maze, answer);
  if (!corridor) return false;
  auto marked = std::count(corridor->cells.begin(), corridor->cells.end(), kOpen);
  auto shortest = maze_distance(maze), within = maze_distance(*corridor);
  // As many marked cells as the path has inner ones, and a path of that length within them.
  return shortest && within && *within == *shortest && marked == *shortest - 1;
}

}  // namespace trm
