// A model's tokens as the answer to a puzzle, and what the rules say of it.
#pragma once

#include <cstdint>
#include <string>

#include "trm/data/grid.h"
#include "trm/data/sudoku.h"

namespace trm {

/// `tokens` (cells) as a grid of the question's size; blank where a token is no digit.
Sudoku answer_to(const Sudoku& question, const int32_t* tokens);
/// The same for a maze; to_text() shows what is no maze cell as '?'.
Grid answer_to(const Grid& maze, const int32_t* tokens);

struct Verdict {
  bool solved = false;
  std::string text;  // "solved…", or what is wrong
};

/// Every cell filled by the rules, the givens kept.
Verdict judge(const Sudoku& question, const Sudoku& answer);
/// Walls, S and G kept, and the marked cells one of the shortest paths.
Verdict judge(const Grid& maze, const Grid& answer);

}  // namespace trm
