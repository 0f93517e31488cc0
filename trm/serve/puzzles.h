// Puzzles to begin with, all of our own generators: the page's list, and a fresh one.
#pragma once

#include "trm/serve/solve_request.h"

namespace trm::serve {

/// [{"name", "puzzle"}…] from easy to hard, always the same; Sudokus with "givens" and "rating"
/// (rate_sudoku), mazes with "steps" of the shortest path. A puzzle is as POST /api/solve takes it,
/// but for ARC: there it is a whole task.
nlohmann::json puzzle_list(const PuzzleFacts& facts);

/// Whether example_puzzle() can make one: not for ARC, nor mazes of more than 32x32 cells.
bool has_examples(const PuzzleFacts& facts);
/// A Sudoku with no given too many, or a maze with a long way, made from `seed`.
std::string example_puzzle(const PuzzleFacts& facts, uint64_t seed);

}  // namespace trm::serve
