#include "trm/data/symmetry.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <stdexcept>

#include "trm/data/arc.h"
#include "trm/data/maze.h"
#include "trm/io/text.h"

namespace trm {

namespace {

uint64_t mix(uint64_t x) {  // SplitMix64's finalizer
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  return x ^ x >> 31;
}

uint64_t join(uint64_t a, uint64_t b) { return mix(a * 3 + mix(b)); }

/// Colours of cells and lines that every symmetry carries along: each is refined by what it meets
/// (Weisfeiler and Lehman 1968).
struct Refined {
  std::array<uint64_t, 81> cell{};
  std::array<uint64_t, 9> row{}, column{};

  explicit Refined(const Sudoku& s) {
    int n = s.size;
    bool square = s.box_rows() == s.box_columns();
    uint64_t column_salt = square ? 0 : 1;  // without transposition columns are no rows
    for (int i = 0; i < s.count(); ++i) cell[at(i)] = s.cells[at(i)] != 0;
    for (int round = 0; round < 4; ++round) {
      std::array<uint64_t, 9> box{}, band{}, stack{};
      std::array<uint64_t, 10> digit{};
      row.fill(0);
      column.fill(0);
      for (int i = 0; i < s.count(); ++i) {
        uint64_t c = mix(cell[at(i)]);
        row[at(i / n)] += c;
        column[at(i % n)] += c;
        box[at(s.box(i))] += c;
        digit[s.cells[at(i)]] += c;
      }
      for (int k = 0; k < n; ++k) {
        band[at(k / s.box_rows())] += mix(row[at(k)]);
        stack[at(k / s.box_columns())] += mix(column[at(k)] + column_salt);
      }
      for (int k = 0; k < n; ++k) {
        row[at(k)] = join(row[at(k)], band[at(k / s.box_rows())]);
        column[at(k)] = join(column[at(k)] + column_salt, stack[at(k / s.box_columns())]);
      }
      for (int i = 0; i < s.count(); ++i) {
        uint64_t lines = mix(row[at(i / n)]) + mix(column[at(i % n)]);
        uint64_t d = s.cells[at(i)] ? digit[s.cells[at(i)]] : 0;
        cell[at(i)] = join(join(cell[at(i)], lines), join(box[at(s.box(i))], d));
      }
    }
  }

  static size_t at(int i) { return static_cast<size_t>(i); }
};

/// Calls `use` with every order of lines (whole bands, lines inside them) that gives each line a
/// partner of its own colour; stops when it returns true.
bool each_order(int size, int per_band, const std::array<uint64_t, 9>& want,
                const std::array<uint64_t, 9>& have,
                const std::function<bool(const std::array<int, 9>&)>& use) {
  std::array<int, 9> order{};
  unsigned taken = 0;
  auto extend = [&](auto&& self, int line) -> bool {
    if (line == size) return use(order);
    int first = 0, last = size;
    if (line % per_band) {  // the band is chosen by its first line
      first = order[static_cast<size_t>(line - 1)] / per_band * per_band;
      last = first + per_band;
    }
    for (int from = first; from < last; ++from) {
      bool band_used = line % per_band == 0 &&
                       (taken >> (from / per_band * per_band) & ((1u << per_band) - 1)) != 0;
      if (taken >> from & 1 || band_used ||
          have[static_cast<size_t>(from)] != want[static_cast<size_t>(line)]) {
        continue;
      }
      order[static_cast<size_t>(line)] = from;
      taken |= 1u << from;
      if (self(self, line + 1)) return true;
      taken &= ~(1u << from);
    }
    return false;
  };
  return extend(extend, 0);
}

}  // namespace

PuzzleKind kind_of(const DatasetMetadata& m) {
  if (m.seq_len == kArcCells && m.vocab_size == 12) return PuzzleKind::arc;
  for (int64_t n : {4, 6, 9}) {
    if (m.seq_len == n * n && m.vocab_size == n + 2) return PuzzleKind::sudoku;
  }
  auto side = std::llround(std::sqrt(static_cast<double>(m.seq_len)));
  if (m.vocab_size == 6 && side * side == m.seq_len) return PuzzleKind::maze;
  return PuzzleKind::other;
}

const char* name_of(PuzzleKind kind) {
  const char* names[] = {"Sudoku", "maze", "ARC", "other"};
  return names[static_cast<int>(kind)];
}

Sudoku sudoku_from_tokens(const std::vector<int32_t>& tokens) {
  Sudoku s;
  s.size = tokens.size() == 16 ? 4 : tokens.size() == 36 ? 6 : 9;
  if (tokens.size() != static_cast<size_t>(s.count())) fail("[sudoku] {} tokens", tokens.size());
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < 1 || tokens[i] > s.size + 1)
      fail("[sudoku] token {} in cell {}", tokens[i], i + 1);
    s.cells[i] = static_cast<uint8_t>(tokens[i] - 1);
  }
  return s;
}

Grid grid_from_tokens(PuzzleKind kind, const std::vector<int32_t>& tokens) {
  if (kind != PuzzleKind::arc) {
    auto side = static_cast<int>(std::llround(std::sqrt(static_cast<double>(tokens.size()))));
    if (static_cast<size_t>(side) * static_cast<size_t>(side) != tokens.size()) side = 0;
    Grid grid{side ? side : 1, side ? side : static_cast<int>(tokens.size()), {}};
    for (int32_t t : tokens) grid.cells.push_back(static_cast<uint8_t>(t));
    return grid;
  }
  if (tokens.size() != kArcCells) fail("[arc] {} tokens", tokens.size());
  int top = kArcSide, left = kArcSide, bottom = -1, right = -1;
  for (int i = 0; i < kArcCells; ++i) {
    if (tokens[static_cast<size_t>(i)] < kArcFirstColour) continue;
    top = std::min(top, i / kArcSide);
    bottom = i / kArcSide;
    left = std::min(left, i % kArcSide);
    right = std::max(right, i % kArcSide);
  }
  Grid grid{std::max(0, bottom - top + 1), std::max(0, right - left + 1), {}};
  for (int r = top; r <= bottom; ++r) {
    for (int c = left; c <= right; ++c) {
      int32_t t = tokens[static_cast<size_t>(r * kArcSide + c)];
      grid.cells.push_back(static_cast<uint8_t>(std::max(0, t - kArcFirstColour)));
    }
  }
  return grid;
}

uint64_t symmetry_key(const Sudoku& puzzle) {
  Refined refined(puzzle);
  uint64_t sum = static_cast<uint64_t>(puzzle.size);
  for (int i = 0; i < puzzle.count(); ++i) sum += mix(refined.cell[static_cast<size_t>(i)]);
  return sum;
}

bool are_equivalent(const Sudoku& a, const Sudoku& b) {
  if (a.size != b.size || a.givens() != b.givens()) return false;
  const Refined want(a);
  for (bool transposed : {false, true}) {
    if (transposed && a.box_rows() != a.box_columns()) break;
    Sudoku other = b;
    for (int i = 0; transposed && i < b.count(); ++i) {
      other.cells[static_cast<size_t>(i)] =
          b.cells[static_cast<size_t>(i % b.size * b.size + i / b.size)];
    }
    const Refined have(other);
    bool found = each_order(a.size, a.box_rows(), want.row, have.row, [&](const auto& rows) {
      return each_order(
          a.size, a.box_columns(), want.column, have.column, [&](const auto& columns) {
            std::array<uint8_t, 10> to{}, back{};
            for (int i = 0; i < a.count(); ++i) {
              auto from = static_cast<size_t>(rows[static_cast<size_t>(i / a.size)] * a.size +
                                              columns[static_cast<size_t>(i % a.size)]);
              uint8_t x = a.cells[static_cast<size_t>(i)], y = other.cells[from];
              if ((x == 0) != (y == 0) || (x && to[x] && to[x] != y) ||
                  (y && back[y] && back[y] != x)) {
                return false;
              }
              to[x] = y;
              back[y] = x;
            }
            return true;
          });
    });
    if (found) return true;
  }
  return false;
}

uint64_t symmetry_key(const Grid& grid, bool colours) {
  uint64_t least = ~uint64_t{0};
  for (int t = 0; t < 8; ++t) {
    Grid form = dihedral(grid, t);
    std::array<uint8_t, 256> name{};
    uint8_t names = 0;
    uint64_t key = mix(static_cast<uint64_t>(form.rows * 256 + form.columns));
    for (uint8_t cell : form.cells) {
      if (colours && cell != 0) {
        if (name[cell] == 0) name[cell] = ++names;
        cell = name[cell];
      }
      key = mix(key ^ cell);
    }
    least = std::min(least, key);
  }
  return least;
}

uint64_t exact_key(const std::vector<int32_t>& tokens) {
  uint64_t key = tokens.size();
  for (int32_t t : tokens) key = mix(key ^ static_cast<uint32_t>(t));
  return key;
}

}  // namespace trm
