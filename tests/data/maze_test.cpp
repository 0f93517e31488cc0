#include <set>

#include <gmock/gmock.h>

#include "tests/data/data_test_util.h"
#include "tests/data/sha256.h"
#include "trm/data/dataset_info.h"
#include "trm/data/maze_dataset.h"
#include "trm/data/numpy_random.h"

namespace trm {
namespace {

using test::golden;
using testing::HasSubstr;

const char* kMaze =
    "S  #\n"
    "# ##\n"
    "#   \n"
    "#  G\n";

TEST(Maze, TextAndItsErrors) {
  Grid maze = parse_maze(kMaze);
  EXPECT_EQ(maze.rows, 4);
  EXPECT_EQ(to_text(maze), kMaze);
  EXPECT_EQ(parse_maze("S  ## ###   #  G"), maze);
  EXPECT_EQ(maze_problem(maze), "");
  EXPECT_THAT(error_of([] { parse_maze("S X#"); }), HasSubstr("character 3 is 'X'"));
  EXPECT_THAT(error_of([] { parse_maze("SG#"); }), HasSubstr("3 cells"));
  EXPECT_THAT(error_of([] { parse_maze("SG#\n#\n"); }), HasSubstr("row 2 has 1"));
  EXPECT_THAT(error_of([] { parse_maze(""); }), HasSubstr("0 cells"));
  EXPECT_THAT(error_of([] { parse_maze("SG\n##\n  \n  \n"); }), HasSubstr("square"));
  EXPECT_THAT(maze_problem(parse_maze("SS G")), HasSubstr("2 cells are S"));
  EXPECT_THAT(maze_problem(parse_maze("S   ")), HasSubstr("0 cells are G"));
  EXPECT_THAT(maze_problem(parse_maze("SGo ")), HasSubstr("(o)"));
}

TEST(Maze, PathLooksDownLeftRightUp) {
  auto label = solve_maze(parse_maze(kMaze));
  ASSERT_TRUE(label);
  EXPECT_EQ(to_text(*label), "So #\n#o##\n#o  \n#ooG\n");
  EXPECT_EQ(maze_distance(parse_maze(kMaze)), 6);
  EXPECT_FALSE(solve_maze(parse_maze("S##G")));
}

TEST(Maze, AnyShortestPathIsRight) {
  Grid maze = parse_maze(kMaze);
  auto right = [&](const char* answer) { return is_shortest_path(maze, parse_maze(answer)); };
  EXPECT_TRUE(right("So #\n#o##\n#o  \n#ooG\n"));
  EXPECT_TRUE(right("So #\n#o##\n#oo \n# oG\n"));
  EXPECT_TRUE(right("So #\n#o##\n#ooo\n#  G\n"));
  EXPECT_FALSE(right("So #\n#o##\n#o  \n# oG\n"));  // a gap
  EXPECT_FALSE(right("Soo#\n#o##\n#o  \n#ooG\n"));  // one cell too many
  EXPECT_FALSE(right("So #\n#o##\n#ooo\n#ooG\n"));
  EXPECT_FALSE(right("So #\n#o##\no o \n#ooG\n"));  // a wall gone
  EXPECT_FALSE(right(kMaze));
}

TEST(Maze, EveryPublishedLabelFollowsTheRule) {
  auto folder = test::shared_data("maze-30x30-hard-1k");
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "needs ../shared/data/maze-30x30-hard-1k";
  int checked = 0, shortest = 1000, longest = 0;
  for (std::string split : {"train", "test"}) {
    PuzzleDataset data({folder}, split);
    auto& set = data.sets()[0];
    std::vector<int32_t> row(900);
    for (int64_t i = 0; i < set.examples(); ++i) {
      Grid maze{30, 30, {}}, label{30, 30, {}};
      set.inputs.copy_row(i, row.data());
      maze.cells.assign(row.begin(), row.end());
      set.labels.copy_row(i, row.data());
      label.cells.assign(row.begin(), row.end());
      ASSERT_EQ(*solve_maze(maze), label) << split << " " << i;
      ASSERT_TRUE(is_shortest_path(maze, label));
      shortest = std::min(shortest, *maze_distance(maze));
      longest = std::max(longest, *maze_distance(maze));
      ++checked;
    }
  }
  EXPECT_EQ(checked, 2000);
  EXPECT_EQ(shortest, 109);
  EXPECT_EQ(longest, 153);
}

TEST(MazeGenerator, LongPathsAndTheSameForTheSameSeed) {
  for (auto [side, least] : {std::pair{30, 109}, {12, 20}, {32, 60}, {5, 1}}) {
    auto a = generate_maze(side, least, 1, 7);
    EXPECT_EQ(a.question.rows, side);
    EXPECT_EQ(maze_problem(a.question), "");
    EXPECT_GE(*maze_distance(a.question), least);
    EXPECT_TRUE(is_shortest_path(a.question, a.answer));
    EXPECT_EQ(generate_maze(side, least, 1, 7).question, a.question);
    EXPECT_NE(generate_maze(side, least, 1, 8).question, a.question);
  }
  EXPECT_THROW(generate_maze(33, 1, 0, 0), std::invalid_argument);
  EXPECT_THROW(generate_maze(30, 0, 0, 0), std::invalid_argument);
}

TEST(MazeGenerator, SearchOnBitsAgreesWithPlainSearch) {
  // With a length of 1 every connected pair is taken: all distances must turn up as they are.
  std::set<int> distances;
  for (uint64_t i = 0; i < 300; ++i) {
    for (int least : {1, 8}) {
      int d = *maze_distance(generate_maze(9, least, 3, i).question);
      ASSERT_GE(d, least);
      distances.insert(d);
    }
  }
  EXPECT_GT(distances.size(), 12u);
}

TEST(MazeDataset, WrittenReadAndRefused) {
  TempDir dir;
  auto made = generate_mazes(10, 12, 6, 3, 1);
  write_maze_dataset(dir / "d", made.train, made.test, {.aug = true});
  PuzzleDataset data({dir / "d"}, "train");
  EXPECT_EQ(data.examples(), 48);
  EXPECT_EQ(data.groups(), 6);
  EXPECT_EQ(data.metadata().vocab_size, 6);
  EXPECT_THAT(error_of([&] { write_maze_dataset(dir / "d", {}, made.test, {}); }),
              HasSubstr("training split has no puzzles"));
  auto why = [&](const std::string& row) {
    write_file(dir / "x.csv", "source,question,answer,rating\n" + row);
    return error_of([&] { read_maze_csv(dir / "x.csv"); });
  };
  EXPECT_EQ(why("m,S G#,S G#,0\n"), "");
  EXPECT_EQ(why("m,S#G ####o,S,0\n").empty(), false);
  EXPECT_THAT(why("m,S  G,SooG,0\nm,S  X,SooG,0\n"), HasSubstr("line 3: [maze] character 4"));
  EXPECT_THAT(why("m,S# G,So G,0\n"), HasSubstr("line 2: cell 2 of the answer"));
  EXPECT_THAT(why("m,S  G,SooG\n"), HasSubstr("4 fields"));
  EXPECT_THAT(why("m,S  S,SooS,0\n"), HasSubstr("2 cells are S"));
  EXPECT_THAT(why("m,S  G,S,0\n"), HasSubstr("another size"));
}

// ---- against the recorded reference ----

TEST(MazeDatasetGolden, FilesAreTheReferencesByteForByte) {
  if (!std::filesystem::exists(golden("dataset"))) GTEST_SKIP() << "needs ../shared/golden/dataset";
  struct Case {
    const char* name;
    MazeDatasetOptions options;
  };
  for (auto& c : {Case{"maze_noaug", {}}, Case{"maze_aug", {.aug = true}},
                  Case{"maze_sub3_aug_seed5", {.subsample_size = 3, .aug = true, .seed = 5}}}) {
    SCOPED_TRACE(c.name);
    TempDir dir;
    write_maze_dataset(
        dir / "d", read_maze_csv(golden(fmt::format("dataset/{}.train.csv", c.name))),
        read_maze_csv(golden(fmt::format("dataset/{}.test.csv", c.name))), c.options);
    test::expect_recorded_files(golden(fmt::format("dataset/{}.json", c.name)), dir / "d");
  }
}

// The published arrays as CSV files once more, and back.
TEST(MazeDatasetGolden, AllPublishedMazesByteForByte) {
  auto folder = test::shared_data("maze-30x30-hard-1k");
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "needs ../shared/data/maze-30x30-hard-1k";
  TempDir dir;
  std::vector<MazePair> pairs[2];
  for (int test = 0; test < 2; ++test) {
    std::string split = test ? "test" : "train", csv = "source,question,answer,rating\n";
    PuzzleDataset data({folder}, split);
    for (int64_t i = 0; i < data.examples(); ++i) {
      auto [input, label] = example_tokens(data, i);
      auto line = [](const std::vector<int32_t>& tokens) {
        std::string text;
        for (int32_t t : tokens) text += kMazeCharacters[static_cast<size_t>(t - 1)];
        return text;
      };
      csv += "," + line(input) + "," + line(label) + ",0\n";
    }
    write_file(dir / (split + ".csv"), csv);
    pairs[test] = read_maze_csv(dir / (split + ".csv"));
  }
  write_maze_dataset(dir / "d", pairs[0], pairs[1], {});
  test::expect_recorded_files(golden("dataset/maze_full_noaug_sha.json"), dir / "d");
}

}  // namespace
}  // namespace trm
