// What makes two puzzles the same: keys that symmetric forms of a puzzle share.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "trm/data/grid.h"
#include "trm/data/puzzle_dataset.h"
#include "trm/data/sudoku.h"

namespace trm {

enum class PuzzleKind { sudoku, maze, arc, other };

/// Told by vocabulary and length.
PuzzleKind kind_of(const DatasetMetadata& metadata);
const char* name_of(PuzzleKind kind);

/// The puzzle in a row of tokens. Throws std::runtime_error for tokens that are no such puzzle's.
Sudoku sudoku_from_tokens(const std::vector<int32_t>& tokens);
/// Tokens as a square grid (maze) or, for ARC, the colours of the placed grid without its padding.
Grid grid_from_tokens(PuzzleKind kind, const std::vector<int32_t>& tokens);

/// The same for all forms that digits, bands, lines and (square boxes) transposition make of a
/// puzzle; different puzzles have different keys but for rare cases that are_equivalent() settles.
uint64_t symmetry_key(const Sudoku& puzzle);
/// Whether one puzzle is a form of the other, by search.
bool are_equivalent(const Sudoku& a, const Sudoku& b);

/// The same for the 8 forms of a grid; with `colours` also for every renaming of tokens that keeps
/// 0.
uint64_t symmetry_key(const Grid& grid, bool colours);

/// A hash of a whole row of tokens.
uint64_t exact_key(const std::vector<int32_t>& tokens);

}  // namespace trm
