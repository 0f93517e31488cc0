// Small rectangular grids and their eight symmetries.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace trm {

struct Grid {
  int rows = 0, columns = 0;
  std::vector<uint8_t> cells;  // (rows, columns)

  uint8_t at(int r, int c) const { return cells[static_cast<size_t>(r * columns + c)]; }
  uint8_t& at(int r, int c) { return cells[static_cast<size_t>(r * columns + c)]; }
  bool operator==(const Grid&) const = default;
};

/// The reference's dihedral_transform (dataset/common.py): 0 identity, 1-3 quarter turns
/// anticlockwise, 4 left-right mirror, 5 up-down mirror, 6 transposition, 7 the other diagonal.
Grid dihedral(const Grid& grid, int transform);
/// The transform that undoes `transform`.
int inverse_dihedral(int transform);
/// For a grid of rows x columns, the old cell of every new one under `transform`.
std::vector<int32_t> dihedral_source(int rows, int columns, int transform);

}  // namespace trm
