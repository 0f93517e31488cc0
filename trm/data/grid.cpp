#include "trm/data/grid.h"

namespace trm {

std::vector<int32_t> dihedral_source(int rows, int columns, int transform) {
  bool turned = transform == 1 || transform == 3 || transform >= 6;
  int new_rows = turned ? columns : rows, new_columns = turned ? rows : columns;
  std::vector<int32_t> from;
  from.reserve(static_cast<size_t>(rows * columns));
  for (int r = 0; r < new_rows; ++r) {
    for (int c = 0; c < new_columns; ++c) {
      int old_r = r, old_c = c;
      switch (transform) {
        case 1:
          old_r = c, old_c = columns - 1 - r;
          break;
        case 2:
          old_r = rows - 1 - r, old_c = columns - 1 - c;
          break;
        case 3:
          old_r = rows - 1 - c, old_c = r;
          break;
        case 4:
          old_c = columns - 1 - c;
          break;
        case 5:
          old_r = rows - 1 - r;
          break;
        case 6:
          old_r = c, old_c = r;
          break;
        case 7:
          old_r = rows - 1 - c, old_c = columns - 1 - r;
          break;
        default:
          break;
      }
      from.push_back(old_r * columns + old_c);
    }
  }
  return from;
}

Grid dihedral(const Grid& grid, int transform) {
  bool turned = transform == 1 || transform == 3 || transform >= 6;
  Grid out{turned ? grid.columns : grid.rows, turned ? grid.rows : grid.columns, {}};
  out.cells.reserve(grid.cells.size());
  for (int32_t cell : dihedral_source(grid.rows, grid.columns, transform)) {
    out.cells.push_back(grid.cells[static_cast<size_t>(cell)]);
  }
  return out;
}

int inverse_dihedral(int transform) { return transform == 1 ? 3 : transform == 3 ? 1 : transform; }

}  // namespace trm
