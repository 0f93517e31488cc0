// The solver, the rating and the generator that stand on it.
#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <stdexcept>

#include <fmt/format.h>

#include "trm/data/sudoku.h"

namespace trm {

namespace {

using Mask = uint16_t;  // bit d-1: digit d is possible
constexpr int64_t kMostGuesses = 20'000'000;

/// Which cells share units, and how boxes and lines cross, for one size.
struct Geometry {
  int size, cells;
  std::array<std::array<uint8_t, 9>, 27> unit;  // rows, columns, boxes
  std::array<std::array<uint8_t, 3>, 81> units_of;
  std::array<std::array<uint8_t, 20>, 81> peers;
  std::array<uint8_t, 81> peer_count{};
  /// A box and a line that cross: common cells, the line's others, the box's others.
  struct Crossing {
    std::array<uint8_t, 3> common;
    std::array<uint8_t, 6> line, box;
    int common_count = 0, line_count = 0, box_count = 0;
  };
  std::vector<Crossing> crossings;

  explicit Geometry(int n) : size(n), cells(n * n) {
    Sudoku shape;
    shape.size = n;
    std::array<int, 27> filled{};
    for (int cell = 0; cell < cells; ++cell) {
      int units[] = {cell / n, n + cell % n, 2 * n + shape.box(cell)};
      for (int k = 0; k < 3; ++k) {
        units_of[cell][k] = static_cast<uint8_t>(units[k]);
        unit[units[k]][filled[units[k]]++] = static_cast<uint8_t>(cell);
      }
    }
    auto shares = [&](int a, int b) {
      return units_of[a][0] == units_of[b][0] || units_of[a][1] == units_of[b][1] ||
             units_of[a][2] == units_of[b][2];
    };
    for (int a = 0; a < cells; ++a) {
      for (int b = 0; b < cells; ++b) {
        if (a != b && shares(a, b)) peers[a][peer_count[a]++] = static_cast<uint8_t>(b);
      }
    }
    for (int box = 2 * n; box < 3 * n; ++box) {
      for (int line = 0; line < 2 * n; ++line) {
        Crossing c;
        for (int i = 0; i < n; ++i) {
          int in_line = unit[line][i], in_box = unit[box][i];
          bool common = units_of[in_line][2] == box;
          if (common) c.common[c.common_count++] = static_cast<uint8_t>(in_line);
          if (!common && c.line_count < 6) c.line[c.line_count++] = static_cast<uint8_t>(in_line);
          bool crosses = units_of[in_box][line < n ? 0 : 1] == line;
          if (!crosses && c.box_count < 6) c.box[c.box_count++] = static_cast<uint8_t>(in_box);
        }
        if (c.common_count > 0) crossings.push_back(c);
      }
    }
  }
};

const Geometry& geometry(int size) {
  static const Geometry four(4), six(6), nine(9);
  return size == 4 ? four : size == 6 ? six : nine;
}

/// Candidates of every cell; a cell is settled once its single digit has left its peers.
struct State {
  std::array<Mask, 81> candidates;
  std::array<bool, 81> settled{};
};

class Search {
 public:
  Search(const Sudoku& puzzle, int most, NumpyPhilox* rng)
      : g_(geometry(puzzle.size)), most_(most), rng_(rng) {
    root_.candidates.fill(static_cast<Mask>((1 << g_.size) - 1));
    for (int i = 0; i < g_.cells; ++i) {
      int digit = puzzle.cells[static_cast<size_t>(i)];
      if (digit) root_.candidates[i] = static_cast<Mask>(1 << (digit - 1));
    }
    result_.first.size = puzzle.size;
  }

  void forbid(int cell, int digit) {
    root_.candidates[cell] &= static_cast<Mask>(~(1 << (digit - 1)));
  }

  SudokuSolutions run() {
    explore(root_);
    return result_;
  }

 private:
  bool settle(State& s, int first) const {
    uint8_t stack[81 + 1];
    int top = 0;
    stack[top++] = static_cast<uint8_t>(first);
    s.settled[first] = true;
    while (top > 0) {
      int cell = stack[--top];
      Mask digit = s.candidates[cell];
      for (int i = 0; i < g_.peer_count[cell]; ++i) {
        int peer = g_.peers[cell][i];
        Mask& mask = s.candidates[peer];
        if (!(mask & digit)) continue;
        mask &= static_cast<Mask>(~digit);
        if (mask == 0) return false;
        if (std::has_single_bit(mask) && !s.settled[peer]) {
          s.settled[peer] = true;
          stack[top++] = static_cast<uint8_t>(peer);
        }
      }
    }
    return true;
  }

  /// Settles cells that are the only place of a digit in a unit.
  bool hidden_singles(State& s, bool& changed) const {
    const Mask all = static_cast<Mask>((1 << g_.size) - 1);
    for (int u = 0; u < 3 * g_.size; ++u) {
      Mask once = 0, twice = 0;
      for (int i = 0; i < g_.size; ++i) {
        Mask m = s.candidates[g_.unit[u][i]];
        twice |= once & m;
        once |= m;
      }
      if (once != all) return false;
      Mask single = once & static_cast<Mask>(~twice);
      if (!single) continue;
      for (int i = 0; i < g_.size; ++i) {
        int cell = g_.unit[u][i];
        Mask m = s.candidates[cell] & single;
        if (!m || s.settled[cell]) continue;
        if (!std::has_single_bit(m)) return false;
        s.candidates[cell] = m;
        if (!settle(s, cell)) return false;
        changed = true;
      }
    }
    return true;
  }

  /// A digit that a box has only on one line leaves the rest of the line, and the other way round.
  bool locked_candidates(State& s, bool& changed) const {
    auto remove = [&](const auto& cells, int count, Mask digits) {
      for (int i = 0; i < count; ++i) {
        int cell = cells[i];
        Mask& mask = s.candidates[cell];
        if (!(mask & digits)) continue;
        mask &= static_cast<Mask>(~digits);
        changed = true;
        if (mask == 0) return false;
        if (std::has_single_bit(mask) && !s.settled[cell] && !settle(s, cell)) return false;
      }
      return true;
    };
    for (auto& c : g_.crossings) {
      Mask common = 0, line = 0, box = 0;
      for (int i = 0; i < c.common_count; ++i) common |= s.candidates[c.common[i]];
      for (int i = 0; i < c.line_count; ++i) line |= s.candidates[c.line[i]];
      for (int i = 0; i < c.box_count; ++i) box |= s.candidates[c.box[i]];
      Mask only_box = common & static_cast<Mask>(~box),
           only_line = common & static_cast<Mask>(~line);
      if ((only_box & line) && !remove(c.line, c.line_count, only_box)) return false;
      if ((only_line & box) && !remove(c.box, c.box_count, only_line)) return false;
    }
    return true;
  }

  bool propagate(State& s) const {
    for (int cell = 0; cell < g_.cells; ++cell) {
      if (s.candidates[cell] == 0) return false;
      if (std::has_single_bit(s.candidates[cell]) && !s.settled[cell] && !settle(s, cell)) {
        return false;
      }
    }
    for (bool changed = true; changed;) {
      changed = false;
      if (!hidden_singles(s, changed)) return false;
      if (!changed && !locked_candidates(s, changed)) return false;
    }
    return true;
  }

  /// Whether enough solutions have been found.
  bool explore(State s) {
    if (!propagate(s)) return false;
    int best = -1, fewest = 10, ties = 0;
    for (int cell = 0; cell < g_.cells; ++cell) {
      int n = std::popcount(s.candidates[cell]);
      if (n < 2 || n > fewest) continue;
      if (n < fewest) {
        fewest = n;
        best = cell;
        ties = 1;
        if (n == 2 && !rng_) break;
      } else if (rng_ && rng_->bounded(static_cast<uint64_t>(ties++)) == 0) {
        best = cell;  // each of the equal ones with the same chance
      }
    }
    if (best < 0) {
      if (result_.found++ == 0) {
        for (int i = 0; i < g_.cells; ++i) {
          result_.first.cells[static_cast<size_t>(i)] =
              static_cast<uint8_t>(std::countr_zero(s.candidates[i]) + 1);
        }
      }
      return result_.found >= most_;
    }
    Mask left = s.candidates[best];
    while (left) {
      int skip =
          rng_ ? static_cast<int>(rng_->bounded(static_cast<uint64_t>(std::popcount(left) - 1)))
               : 0;
      Mask digit = left;
      while (skip-- > 0) digit &= static_cast<Mask>(digit - 1);
      digit &= static_cast<Mask>(-digit);
      left &= static_cast<Mask>(~digit);
      if (++result_.guesses > kMostGuesses) {
        throw std::runtime_error(fmt::format("[sudoku] given up after {} guesses", kMostGuesses));
      }
      State next = s;
      next.candidates[best] = digit;
      if (explore(next)) return true;
    }
    return false;
  }

  const Geometry& g_;
  int most_;
  NumpyPhilox* rng_;
  State root_;
  SudokuSolutions result_;
};

/// A generator for item `index` of stream `seed`, independent of all others.
NumpyPhilox stream(uint64_t seed, uint64_t index) {
  auto state = NumpyPhilox(seed).state();
  state.counter[2] = index;
  return NumpyPhilox(state);
}

}  // namespace

SudokuSolutions solve_sudoku(const Sudoku& puzzle, int most, NumpyPhilox* rng) {
  return Search(puzzle, most, rng).run();
}

bool has_other_solution(const Sudoku& puzzle, int cell, int digit) {
  Search search(puzzle, 1, nullptr);
  search.forbid(cell, digit);
  return search.run().found > 0;
}

double rate_sudoku(const Sudoku& puzzle, int tries) {
  uint64_t seed = 0;
  for (uint8_t digit : puzzle.cells) seed = seed * 11 + digit;
  int64_t guesses = 0;
  for (int i = 0; i < tries; ++i) {
    NumpyPhilox rng = stream(seed, static_cast<uint64_t>(i));
    auto result = solve_sudoku(puzzle, 1, &rng);
    guesses += result.guesses;
    if (result.guesses == 0) return 0;
  }
  return static_cast<double>(guesses) / tries;
}

SudokuPair generate_sudoku(int size, int givens, uint64_t seed, uint64_t index) {
  if (size != 4 && size != 6 && size != 9) {
    throw std::invalid_argument(fmt::format("[sudoku] size {}: 4, 6 and 9 are possible", size));
  }
  if (givens < 0 || givens > size * size) {
    throw std::invalid_argument(
        fmt::format("[sudoku] {} givens: 0 to {} are possible", givens, size * size));
  }
  NumpyPhilox rng = stream(seed, index);
  Sudoku empty;
  empty.size = size;
  SudokuPair pair;
  pair.answer = solve_sudoku(empty, 1, &rng).first;
  pair.question = pair.answer;
  std::vector<int32_t> order;
  rng.permutation(size * size, order);
  int left = size * size;
  for (int32_t cell : order) {
    if (left <= givens) break;
    auto at = static_cast<size_t>(cell);
    Sudoku fewer = pair.question;
    fewer.cells[at] = 0;
    if (has_other_solution(fewer, cell, pair.answer.cells[at])) continue;
    pair.question = fewer;
    --left;
  }
  return pair;
}

}  // namespace trm
