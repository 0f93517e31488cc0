// About 1 random maze in 56,000 has a path as long as Maze-Hard asks: the search runs on bit rows.
#include <algorithm>
#include <bit>
#include <cstring>
#include <stdexcept>

#include <fmt/format.h>

#include "trm/data/maze.h"
#include "trm/data/numpy_random.h"

// The hot function in two versions, the better one chosen when the program starts.
#if defined(__x86_64__) && defined(__linux__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__)
#define TRM_TWO_VERSIONS __attribute__((target_clones("avx2", "default")))
#else
#define TRM_TWO_VERSIONS
#endif

// No vector crosses a call here: what GCC says about passing them does not apply.
#pragma GCC diagnostic ignored "-Wpsabi"

#define TRM_INLINE inline __attribute__((always_inline))

namespace trm {

namespace {

// 32 rows of 32 cells, one bit a cell. Row r lies in lane r / 4 of vector r % 4, so that three of
// four steps up or down change only the vector.
using Lanes = uint32_t __attribute__((vector_size(32)));
struct Rows {
  Lanes v[4];
  uint32_t row(int r) const { return v[r % 4][r / 4]; }
  void set_row(int r, uint32_t bits) { v[r % 4][r / 4] = bits; }
};

/// xoshiro128++ (Blackman and Vigna), eight streams side by side.
struct LaneRandom {
  Lanes s[4];
  TRM_INLINE static Lanes rotate(Lanes x, int k) { return (x << k) | (x >> (32 - k)); }
  TRM_INLINE Lanes next() {
    Lanes result = rotate(s[0] + s[3], 7) + s[0], t = s[1] << 9;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 11);
    return result;
  }
};

constexpr int kDigits = 10;  // binary digits of the wall's chance

int count(const Rows& rows) {
  int n = 0;
  for (auto& v : rows.v) {
    for (int lane = 0; lane < 8; ++lane) n += std::popcount(v[lane]);
  }
  return n;
}

/// Fills `open` with bits that are 0 with the chance wall / 2^kDigits, inside a square of `side`.
TRM_INLINE void random_rows(LaneRandom& random, uint32_t wall, const Rows& inside, Rows& open) {
  for (int k = 0; k < 4; ++k) {
    Lanes walls = {};
    for (int digit = 0; digit < kDigits; ++digit) {
      Lanes bits = random.next();
      walls = wall >> digit & 1 ? walls | bits : walls & bits;
    }
    open.v[k] = ~walls & inside.v[k];
  }
}

/// Cells that lie at least `least` steps from `start`; {} when there are none.
TRM_INLINE void far_cells(const Rows& open, int row, int column, int least, Rows& far) {
  const Lanes zero = {};
  Rows left = open, front = {};
  front.set_row(row, 1u << column);
  left.set_row(row, left.row(row) & ~(1u << column));
  for (int step = 1;; ++step) {
    Lanes from_above = __builtin_shufflevector(front.v[3], zero, 8, 0, 1, 2, 3, 4, 5, 6);
    Lanes from_below = __builtin_shufflevector(front.v[0], zero, 1, 2, 3, 4, 5, 6, 7, 8);
    Rows next;
    next.v[0] = from_above | front.v[1];
    next.v[1] = front.v[0] | front.v[2];
    next.v[2] = front.v[1] | front.v[3];
    next.v[3] = front.v[2] | from_below;
    Lanes any = {};
    for (int k = 0; k < 4; ++k) {
      next.v[k] = (next.v[k] | front.v[k] << 1 | front.v[k] >> 1) & left.v[k];
      any |= next.v[k];
    }
    uint64_t words[4];
    std::memcpy(words, &any, sizeof(words));
    if (!(words[0] | words[1] | words[2] | words[3])) return;
    for (int k = 0; k < 4; ++k) {
      left.v[k] &= ~next.v[k];
      if (step >= least) far.v[k] |= next.v[k];
    }
    front = next;
  }
}

struct Try {
  Rows open, far;
  int row, column;
};

/// Draws mazes and starts until some cells are far enough; false after `tries`. Each draw is a wall
/// chance, the walls, and a start.
TRM_TWO_VERSIONS bool search(LaneRandom& random, int side, int least, int64_t tries, Try& found) {
  Rows inside = {};
  for (int r = 0; r < side; ++r) inside.set_row(r, side == 32 ? ~0u : (1u << side) - 1);
  Lanes spare = {};
  int used = 8;
  auto next_word = [&] {
    if (used == 8) {
      spare = random.next();
      used = 0;
    }
    return static_cast<uint32_t>(spare[used++]);
  };
  auto below = [&](uint32_t n) { return static_cast<int>(uint64_t{next_word()} * n >> 32); };
  constexpr uint32_t low = 307, high = 512;  // 0.3 and 0.5 of 2^kDigits
  for (int64_t i = 0; i < tries; ++i) {
    uint32_t wall = low + static_cast<uint32_t>(below(high - low + 1));
    random_rows(random, wall, inside, found.open);
    int attempts = 0;
    do {
      found.row = below(static_cast<uint32_t>(side));
      found.column = below(static_cast<uint32_t>(side));
    } while (!(found.open.row(found.row) >> found.column & 1) && ++attempts < 1000);
    if (attempts == 1000) continue;
    found.far = {};
    far_cells(found.open, found.row, found.column, least, found.far);
    uint64_t any = 0;
    for (auto& v : found.far.v) {
      for (int lane = 0; lane < 8; ++lane) any |= v[lane];
    }
    if (any) return true;
  }
  return false;
}

}  // namespace

MazePair generate_maze(int side, int min_length, uint64_t seed, uint64_t index) {
  if (side < 2 || side > 32 || min_length < 1) {
    throw std::invalid_argument(fmt::format(
        "[maze] side {} and length {}: a side of 2 to 32 and a length of at least 1 are possible",
        side, min_length));
  }
  auto state = NumpyPhilox(seed).state();
  state.counter[2] = index;
  NumpyPhilox rng(state);
  LaneRandom random;
  for (auto& v : random.s) {
    for (int lane = 0; lane < 8; ++lane) v[lane] = rng.next_uint32();
  }
  Try t;
  int64_t tries = 50'000'000;
  while (search(random, side, min_length, tries, t)) {
    // A random goal would be one of the `far` cells with the chance far / others. Accepting with
    // twice that chance keeps the distribution, as no 30x30 maze has half of its cells so far away;
    // where one has (short lengths), it is taken for certain.
    int far = count(t.far), others = count(t.open) - 1;
    if (rng.random() * others >= 2.0 * far) continue;
    int goal = static_cast<int>(rng.bounded(static_cast<uint64_t>(far - 1)));
    Grid maze{side, side, std::vector<uint8_t>(static_cast<size_t>(side * side), kWall)};
    for (int r = 0; r < side; ++r) {
      for (int c = 0; c < side; ++c) {
        if (t.open.row(r) >> c & 1) maze.at(r, c) = kOpen;
        if ((t.far.row(r) >> c & 1) && goal-- == 0) maze.at(r, c) = kGoal;
      }
    }
    maze.at(t.row, t.column) = kStart;
    return {maze, *solve_maze(maze)};
  }
  throw std::runtime_error(fmt::format(
      "[maze] no {0}x{0} maze with a path of {1} steps in {2} tries", side, min_length, tries));
}

}  // namespace trm
