#include "trm/data/dataset_info.h"

#include <gmock/gmock.h>
#include <libdeflate.h>

#include "tests/data/data_test_util.h"
#include "trm/data/maze_dataset.h"
#include "trm/data/picture.h"
#include "trm/data/sudoku_dataset.h"

namespace trm {
namespace {

using testing::HasSubstr;

TEST(DatasetInfo, CountsRepeatsAndLeaks) {
  TempDir dir;
  auto made = generate_sudokus(9, 8, 4, 1);
  NumpyMt19937 rng(7);
  auto test = made.test;
  test.push_back(made.train[0]);  // as it stands
  auto shuffle = SudokuShuffle::draw(9, rng);
  test.push_back({shuffle(made.train[1].question), shuffle(made.train[1].answer)});  // in disguise
  auto train = made.train;
  train.push_back(train[2]);
  write_sudoku_dataset(dir / "d", train, test, {});
  auto info = dataset_info(dir / "d");
  EXPECT_EQ(info.kind, PuzzleKind::sudoku);
  auto& t = info.splits.at("train");
  EXPECT_EQ(t.examples, 9);
  EXPECT_EQ(t.repeated_inputs, 1);
  EXPECT_EQ(t.repeated_examples, 1);
  EXPECT_EQ(t.conflicting, 0);
  EXPECT_EQ(t.input_tokens[0], 0);
  EXPECT_EQ(t.label_tokens[2], 81);  // each digit nine times a puzzle
  EXPECT_EQ(info.leakage->exact, 1);
  EXPECT_EQ(info.leakage->symmetric, 2);
  EXPECT_THAT(info.leakage->first, testing::ElementsAre(4, 5));
}

TEST(DatasetInfo, MazesLeakByTheirEightForms) {
  TempDir dir;
  auto made = generate_mazes(8, 6, 5, 3, 1);
  auto test = made.test;
  test.push_back({dihedral(made.train[0].question, 3), dihedral(made.train[0].answer, 3)});
  write_maze_dataset(dir / "d", made.train, test, {});
  auto info = dataset_info(dir / "d");
  EXPECT_EQ(info.kind, PuzzleKind::maze);
  EXPECT_EQ(info.leakage->exact, 0);
  EXPECT_EQ(info.leakage->symmetric, 1);
}

TEST(DatasetInfo, BrokenFoldersAreNamed) {
  TempDir dir;
  EXPECT_THAT(error_of([&] { dataset_info(dir / "none"); }), HasSubstr("no such folder"));
  EXPECT_THAT(error_of([&] { dataset_info(dir.path()); }), HasSubstr("neither train nor test"));
}

TEST(DatasetInfo, WhatTheNoticeSaysOfThePublicSudoku) {
  auto csv = test::shared_data("sudoku-extreme-1k");
  if (!std::filesystem::exists(csv)) GTEST_SKIP() << "needs ../shared/data/sudoku-extreme-1k";
  TempDir dir;
  std::vector<SudokuPair> train, test;
  for (auto& row : read_sudoku_csv(csv / "train.csv")) train.push_back(row.pair);
  for (auto& row : read_sudoku_csv(csv / "test_hard_10k.csv")) test.push_back(row.pair);
  EXPECT_EQ(train.size(), 1000u);
  EXPECT_EQ(test.size(), 10000u);
  write_sudoku_dataset(dir / "d", train, test, {});
  auto info = dataset_info(dir / "d");
  EXPECT_EQ(info.leakage->symmetric, 0) << "no test row is equivalent to a training row";
  EXPECT_EQ(info.splits.at("train").repeated_inputs, 0);
}

TEST(DatasetInfo, WhatTheNoticeSaysOfThePublicMazes) {
  auto folder = test::shared_data("maze-30x30-hard-1k");
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "needs ../shared/data/maze-30x30-hard-1k";
  auto info = dataset_info(folder);
  EXPECT_EQ(info.leakage->symmetric, 0) << "1000 + 1000 distinct mazes";
  double walls = 0, steps = 0;
  int64_t least = 1000, most = 0;
  for (auto& [split, s] : info.splits) {
    EXPECT_EQ(s.examples, 1000);
    EXPECT_EQ(s.repeated_inputs, 0);
    EXPECT_EQ(s.maze->with_one_path, 0) << "no maze has a unique shortest path";
    EXPECT_EQ(s.maze->rule_labels, 1000) << "every label is the path of the rule";
    least = std::min(least, s.maze->least_steps);
    most = std::max(most, s.maze->most_steps);
    walls += s.maze->wall_share / 2;
    steps += s.maze->mean_steps / 2;
  }
  EXPECT_EQ(least, 109);
  EXPECT_EQ(most, 153);
  EXPECT_NEAR(walls, 0.372, 5e-4);
  EXPECT_NEAR(steps, 113.8, 0.05);
}

TEST(DatasetInfo, MazesWithOneShortestPathOrNone) {
  auto facts = [](const std::string& text) {
    auto maze = parse_maze(text);
    return maze_facts({{maze, solve_maze(maze).value_or(maze)}});
  };
  EXPECT_EQ(facts("S #\n# #\n# G").with_one_path, 1);
  EXPECT_EQ(facts("S #\n# #\n# G").without_path, 0);
  EXPECT_EQ(facts("S #\n###\n  G").without_path, 1);
  EXPECT_EQ(facts("S  \n###\n  G").shortest_labels, 0);
  EXPECT_EQ(facts("S  \n## \n  G").with_one_path, 1);
  EXPECT_EQ(facts("S  \n # \n  G").with_one_path, 0);
  EXPECT_EQ(facts("   \n   \nS G").with_one_path, 1);
  // No S or no G, as in a data set that is none: no path, and nothing fails.
  Grid open{2, 2, {2, 2, 2, 2}};
  EXPECT_EQ(maze_facts({{open, open}}).without_path, 1);
}

TEST(DatasetInfo, SudokuOfTwoListsAreCompared) {
  auto made = generate_sudokus(9, 6, 2, 1);
  std::vector<Sudoku> train, test;
  for (auto& pair : made.train) train.push_back(pair.question);
  for (auto& pair : made.test) test.push_back(pair.question);
  NumpyMt19937 rng(7);
  test.push_back(SudokuShuffle::draw(9, rng)(train[3]));
  test.push_back(train[1]);
  auto leak = sudoku_leakage(train, test);
  EXPECT_EQ(leak.exact, 1);
  EXPECT_EQ(leak.symmetric, 2);
  EXPECT_THAT(leak.first, testing::ElementsAre(2, 3));
}

TEST(Picture, TextOfEachKind) {
  std::vector<int32_t> question(16, 1), answer(16, 2);
  question[0] = 5;
  EXPECT_THAT(picture_text(PuzzleKind::sudoku, question, answer, false),
              testing::StartsWith("4 . | . .    1 1 | 1 1 \n"));
  EXPECT_EQ(picture_text(PuzzleKind::maze, {3, 1, 2, 4}, {3, 1, 5, 4}, false),
            "S #    S # \n  G    o G \n");
  EXPECT_THAT(picture_text(PuzzleKind::maze, {3, 1, 2, 4}, {3, 1, 5, 4}, true),
              HasSubstr("\x1b[48;5;41m"));
  std::vector<int32_t> grid(900, 0);
  grid[31] = 5;
  EXPECT_EQ(picture_text(PuzzleKind::arc, grid, grid, false), "3    3 \n");
}

TEST(Picture, PngHoldsTheImage) {
  TempDir dir;
  auto image = picture_image(PuzzleKind::maze, {3, 1, 2, 4}, {3, 1, 5, 4});
  write_png(dir / "x.png", image);
  auto png = read_file(dir / "x.png");
  ASSERT_EQ(png.substr(0, 8), "\x89PNG\r\n\x1a\n");
  EXPECT_EQ(png.substr(12, 4), "IHDR");
  EXPECT_EQ(static_cast<uint8_t>(png[19]), image.width);
  EXPECT_EQ(static_cast<uint8_t>(png[23]), image.height);
  size_t idat = png.find("IDAT");
  auto length = static_cast<size_t>(static_cast<uint8_t>(png[idat - 1]) |
                                    static_cast<uint8_t>(png[idat - 2]) << 8);
  std::string raw(static_cast<size_t>(image.height * (image.width * 3 + 1)), '\0');
  auto* d = libdeflate_alloc_decompressor();
  EXPECT_EQ(
      libdeflate_zlib_decompress(d, png.data() + idat + 4, length, raw.data(), raw.size(), nullptr),
      LIBDEFLATE_SUCCESS);
  libdeflate_free_decompressor(d);
  EXPECT_EQ(raw.substr(1, 30), std::string(image.pixels.begin(), image.pixels.begin() + 30));
}

}  // namespace
}  // namespace trm
