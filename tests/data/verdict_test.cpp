#include "trm/data/verdict.h"

#include <gtest/gtest.h>

#include "trm/data/maze.h"

namespace trm {
namespace {

TEST(VerdictTest, SudokuByItsRules) {
  auto question = parse_sudoku("1.3..41..1.34..1");
  auto of = [&](const char* text) { return judge(question, parse_sudoku(text)); };
  EXPECT_TRUE(of("1234341221434321").solved);
  EXPECT_EQ(of("1234341221434321").text, "solved");
  EXPECT_EQ(of("2134341221434321").text, "wrong: it changes a given");
  EXPECT_EQ(of("1.3..41..1.34..1").text, "wrong: cells are left blank");
  EXPECT_EQ(of("1134341221434321").text, "wrong: 1 stands twice in row 1");
  EXPECT_FALSE(of("1134341221434321").solved);
}

TEST(VerdictTest, MazeByItsPath) {
  auto maze = parse_maze("S   \n ## \n ## \n   G\n");
  auto of = [&](const char* text) { return judge(maze, parse_maze(text)); };
  auto solved = of("So  \n##  \n ## \n   G\n");
  EXPECT_EQ(solved.text, "wrong: it changes the maze");
  EXPECT_TRUE(of("Sooo\n ##o\n ##o\n   G\n").solved);
  EXPECT_EQ(of("S   \no## \no## \noooG\n").text, "solved: a shortest path, 6 steps");
  EXPECT_EQ(of("Sooo\no##o\no##o\noooG\n").text,
            "valid, but more cells are marked than a shortest path of 6 steps has");
  EXPECT_EQ(of("Soo \n ## \n ## \n   G\n").text, "wrong: the marked cells do not join S and G");
  auto closed = parse_maze("S#\n#G\n");
  EXPECT_EQ(judge(closed, closed).text, "no path from S to G exists");
}

TEST(VerdictTest, TokensThatAreNoCellsAreNoAnswer) {
  auto question = parse_sudoku("1.3..41..1.34..1");
  int32_t tokens[16] = {2, -7, 6, 1, 0, 1 << 30};
  EXPECT_EQ(to_text(answer_to(question, tokens)), "1...............");
  auto maze = parse_maze("S G ");
  int32_t cells[4] = {3, -1, 1 << 30, 5};
  EXPECT_EQ(to_text(answer_to(maze, cells)), "S?\n?o\n");
}

}  // namespace
}  // namespace trm
