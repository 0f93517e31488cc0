// What evaluation reports beside the reference's metrics.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <utility>

#include "trm/data/symmetry.h"

namespace trm {

/// Wilson's score interval of the share `successes` of `n`, at 95 %. n = 0: (0, 1).
std::pair<double, double> wilson_interval(int64_t successes, int64_t n);

/// What an answer is besides equal to its label.
struct AnswerCheck {
  /// Sudoku: filled by the rules with the givens kept. Maze: walls, S and G kept, and S and G
  /// joined by cells marked o.
  bool valid = false;
  /// Maze: the marked cells are one of the shortest paths, the paper's criterion.
  bool shortest = false;
};

/// `input`, `answer`: (cells) tokens, any values. False for kinds other than Sudoku and maze.
AnswerCheck check_answer(PuzzleKind kind, const int32_t* input, const int32_t* answer, int cells);

/// First rating of each class; the last one is open.
constexpr std::array<int64_t, 7> kRatingClasses = {0, 1, 5, 10, 20, 50, 100};

/// Exact answers by the class of their puzzle's rating.
struct RatingTable {
  std::array<int64_t, kRatingClasses.size()> rows{}, exact{};
  void add(int64_t rating, bool is_exact);
};
/// "0", "1-4", …, "100-".
std::string rating_class(size_t index);

}  // namespace trm
