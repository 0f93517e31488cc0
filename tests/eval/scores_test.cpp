#include "trm/eval/scores.h"

#include <gtest/gtest.h>

#include "trm/data/maze.h"
#include "trm/eval/row_batches.h"

namespace trm {
namespace {

// Newcombe (1998), Statistics in Medicine 17:857, method 3.
TEST(Wilson, IsThePublishedInterval) {
  auto near = [](std::pair<double, double> got, double low, double high) {
    EXPECT_NEAR(got.first, low, 5e-5);
    EXPECT_NEAR(got.second, high, 5e-5);
  };
  near(wilson_interval(81, 263), 0.2553, 0.3662);
  near(wilson_interval(15, 148), 0.0624, 0.1605);
  near(wilson_interval(0, 20), 0.0000, 0.1611);
  near(wilson_interval(1, 29), 0.0061, 0.1718);
  EXPECT_EQ(wilson_interval(0, 0), std::pair(0.0, 1.0));
  EXPECT_DOUBLE_EQ(wilson_interval(20, 20).second, 1.0);
}

TEST(RatingTable, ClassesHaveTheirBounds) {
  RatingTable table;
  for (int64_t rating : {-3, 0, 1, 4, 5, 99, 100, 1000000}) table.add(rating, rating > 4);
  EXPECT_EQ(table.rows, (std::array<int64_t, 7>{2, 2, 1, 0, 0, 1, 2}));
  EXPECT_EQ(table.exact, (std::array<int64_t, 7>{0, 0, 1, 0, 0, 1, 2}));
  EXPECT_EQ(rating_class(0), "0");
  EXPECT_EQ(rating_class(1), "1-4");
  EXPECT_EQ(rating_class(6), "100-");
}

AnswerCheck check(PuzzleKind kind, const PuzzleRow& row, const std::vector<int32_t>& answer) {
  return check_answer(kind, row.inputs.data(), answer.data(), static_cast<int>(answer.size()));
}

TEST(AnswerCheck, SudokuKeepsTheRulesAndTheGivens) {
  // Two solutions: neither is the only right one, both are valid.
  auto question = parse_sudoku("12..34..........");
  auto row = puzzle_row(SudokuPair{question, parse_sudoku("1243341221344321")});
  EXPECT_TRUE(check(PuzzleKind::sudoku, row, row.labels).valid);
  auto other = puzzle_row(SudokuPair{question, parse_sudoku("1234341221434321")});
  EXPECT_TRUE(check(PuzzleKind::sudoku, row, other.labels).valid);
  auto changed = puzzle_row(SudokuPair{question, parse_sudoku("2143431212343421")});
  EXPECT_FALSE(check(PuzzleKind::sudoku, row, changed.labels).valid) << "a given was changed";
  for (int32_t token : {-5, 0, 1, 3, 6, 1 << 20}) {
    auto broken = row.labels;
    broken[15] = token;
    EXPECT_FALSE(check(PuzzleKind::sudoku, row, broken).valid) << token;
  }
}

TEST(AnswerCheck, MazesAreValidAndShortestApart) {
  auto maze = parse_maze("S  \n # \n  G");
  auto row = puzzle_row(MazePair{maze, *solve_maze(maze)});
  auto of = [&](const char* text) {
    auto grid = parse_maze(text);
    auto r = check(PuzzleKind::maze, row, {grid.cells.begin(), grid.cells.end()});
    return std::pair(r.valid, r.shortest);
  };
  EXPECT_EQ(of("Soo\n #o\n  G"), std::pair(true, true));
  EXPECT_EQ(of("S  \no# \nooG"), std::pair(true, true));
  EXPECT_EQ(of("Soo\no#o\nooG"), std::pair(true, false)) << "more marked than one path";
  EXPECT_EQ(of("So \n #o\n  G"), std::pair(false, false)) << "a gap";
  EXPECT_EQ(of("Soo\n oo\n  G"), std::pair(false, false)) << "through a wall";
  EXPECT_EQ(of("ooo\n #o\n  G"), std::pair(false, false)) << "S is gone";
  std::vector<int32_t> wild(9, -7);
  EXPECT_FALSE(check(PuzzleKind::maze, row, wild).valid);
  // A question without a goal makes no answer valid, and nothing fails.
  auto none = row;
  for (auto& cell : none.inputs) cell = kOpen;
  EXPECT_FALSE(check(PuzzleKind::maze, none, row.labels).valid);
}

}  // namespace
}  // namespace trm
