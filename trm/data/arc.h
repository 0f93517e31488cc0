// ARC tasks: grids of colours 0-9 up to 30x30, and the reference's augmentations of them.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "trm/data/grid.h"
#include "trm/data/numpy_random.h"

namespace trm {

constexpr int kArcSide = 30;
constexpr int kArcCells = kArcSide * kArcSide;
constexpr std::string_view kArcSeparator = "|||";

/// Tokens of the data set: padding, the edge after a grid's last row and column, colour + 2.
enum ArcToken : uint8_t { kArcPad = 0, kArcEnd = 1, kArcFirstColour = 2 };

struct ArcPair {
  Grid input, output;
};

struct ArcTask {
  std::string name;
  std::vector<ArcPair> train, test;
  bool test_first = false;  // "test" stood before "train" in the file: the order of its examples
};

/// A grid from JSON rows of colours. Throws std::runtime_error that starts with `where`.
Grid parse_arc_grid(const nlohmann::ordered_json& rows, const std::string& where);
/// One task ({"train": [{"input", "output"}…], "test": […]}). A test pair may lack its output: it
/// is then a single black cell, as in the reference. Throws std::runtime_error.
ArcTask parse_arc_task(const std::string& name, const nlohmann::ordered_json& json);

/// A symmetry and a permutation of the colours that keeps black (0).
struct ArcAugmentation {
  uint8_t transform = 0;
  std::array<uint8_t, 10> colours{0, 1, 2, 3, 4, 5, 6, 7, 8, 9};  // new colour of each old one

  /// The reference's draws: randint(0, 8), then a permutation of 1..9.
  static ArcAugmentation draw(NumpyMt19937& rng);
  Grid operator()(const Grid& grid) const;
  /// Undoes operator().
  Grid inverse(const Grid& grid) const;
  /// "|||t3|||0512…", the part after the task's name.
  std::string suffix() const;
  bool operator==(const ArcAugmentation&) const = default;
};

/// "name|||t3|||0123456789" taken apart; without a suffix the identity. Throws
/// std::runtime_error for a malformed suffix.
struct ArcName {
  std::string task;
  ArcAugmentation augmentation;
};
ArcName parse_arc_name(std::string_view identifier);

/// `grid` as the 900 tokens of a test example: in the top left corner. An empty one: padding only.
std::vector<int32_t> arc_tokens(const Grid& grid);

/// Writes `grid` as 900 tokens with its top left corner at (row, column), the edge marked after it.
/// `source` lists the old cell of each new one (dihedral_source), rows x columns the new shape.
void write_arc_tokens(const Grid& grid, const std::vector<int32_t>& source, int rows, int columns,
                      const std::array<uint8_t, 10>& colours, int row, int column, uint8_t* out);

}  // namespace trm
