#include "trm/data/symmetry.h"

#include <set>

#include <gmock/gmock.h>

#include "trm/data/arc.h"

namespace trm {
namespace {

TEST(SudokuSymmetry, FormsShareTheKeyAndOthersDoNot) {
  NumpyMt19937 rng(1);
  for (int size : {4, 6, 9}) {
    std::set<uint64_t> keys;
    int n = size == 4 ? 1 : 20;
    for (int i = 0; i < n; ++i) {
      auto puzzle = generate_sudoku(size, 0, 2, static_cast<uint64_t>(i)).question;
      keys.insert(symmetry_key(puzzle));
      for (int k = 0; k < 10; ++k) {
        auto form = SudokuShuffle::draw(size, rng)(puzzle);
        ASSERT_EQ(symmetry_key(form), symmetry_key(puzzle));
        ASSERT_TRUE(are_equivalent(form, puzzle));
        // With one given moved to another digit it is another puzzle.
        Sudoku changed = form;
        for (auto& cell : changed.cells) {
          if (cell == 0) continue;
          cell = static_cast<uint8_t>(cell % size + 1);
          break;
        }
        if (size == 9) {
          ASSERT_FALSE(are_equivalent(changed, puzzle));
        }
      }
    }
    EXPECT_EQ(keys.size(), static_cast<size_t>(n));
  }
  // 6x6 boxes are not square: a transposed puzzle breaks into other boxes.
  auto six = generate_sudoku(6, 0, 2, 0).question;
  Sudoku turned = six;
  for (size_t i = 0; i < 36; ++i) turned.cells[i] = six.cells[i % 6 * 6 + i / 6];
  EXPECT_FALSE(are_equivalent(six, turned));
}

TEST(GridSymmetry, EightFormsAndColours) {
  Grid g{2, 3, {0, 1, 2, 3, 3, 0}};
  for (int t = 0; t < 8; ++t)
    EXPECT_EQ(symmetry_key(dihedral(g, t), false), symmetry_key(g, false));
  NumpyMt19937 rng(2);
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(symmetry_key(ArcAugmentation::draw(rng)(g), true), symmetry_key(g, true));
  }
  Grid other{2, 3, {0, 1, 2, 3, 1, 0}};
  EXPECT_NE(symmetry_key(other, true), symmetry_key(g, true));
  EXPECT_NE(symmetry_key(Grid{3, 2, g.cells}, false), symmetry_key(g, false));
}

TEST(GridSymmetry, TokensBackToGrids) {
  Grid g{2, 2, {1, 0, 0, 9}};
  std::vector<uint8_t> bytes(kArcCells);
  write_arc_tokens(g, dihedral_source(2, 2, 0), 2, 2, ArcAugmentation{}.colours, 7, 11,
                   bytes.data());
  EXPECT_EQ(grid_from_tokens(PuzzleKind::arc, {bytes.begin(), bytes.end()}), g);
  EXPECT_EQ(grid_from_tokens(PuzzleKind::arc, std::vector<int32_t>(900, 0)).cells.size(), 0u);
  EXPECT_EQ(grid_from_tokens(PuzzleKind::maze, {1, 2, 3, 4}), (Grid{2, 2, {1, 2, 3, 4}}));
  EXPECT_THROW(sudoku_from_tokens({1, 2, 3}), std::runtime_error);
  EXPECT_THROW(sudoku_from_tokens(std::vector<int32_t>(16, 0)), std::runtime_error);
}

}  // namespace
}  // namespace trm
