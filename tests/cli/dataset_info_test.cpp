// trm dataset info as a user runs it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/program.h"
#include "trm/data/maze_dataset.h"
#include "trm/data/sudoku_dataset.h"

namespace trm {
namespace {

using nlohmann::json;
using testing::HasSubstr;

const std::string kHeader = "source,question,answer,rating\n";
const std::string kRow = "a,1.3..41..1.34..1,1234341221434321,";

json info(std::vector<std::string> words) {
  words.insert(words.begin(), {"dataset", "info", "--json"});
  auto outcome = run_program(words);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  return outcome.exit_code ? json() : json::parse(outcome.out);
}

TEST(DatasetInfoCommand, FoldersAsJson) {
  TempDir folder;
  auto sudoku = generate_sudokus(4, 6, 2, 1);
  write_sudoku_dataset(folder / "s", sudoku.train, sudoku.test, {.num_aug = 2});
  auto s = info({folder / "s"});
  EXPECT_EQ(s["kind"], "Sudoku");
  EXPECT_EQ(s["splits"]["train"]["examples"], 18);
  EXPECT_EQ(s["leakage"]["exact"], 0);
  auto mazes = generate_mazes(8, 6, 3, 2, 1);
  write_maze_dataset(folder / "m", mazes.train, mazes.test, {});
  EXPECT_EQ(info({folder / "m"})["splits"]["test"]["maze"]["labels_by_the_rule"], 2);
}

TEST(DatasetInfoCommand, CsvFilesRatedAndCompared) {
  TempDir folder;
  write_file(folder / "a.csv", kHeader + kRow + "0\n" + kRow + "7\n");
  auto a = info({folder / "a.csv", "--rate", "--against", folder / "a.csv"});
  EXPECT_EQ(a["rows"], 2);
  EXPECT_EQ(a["distinct"], 1);
  EXPECT_EQ(a["rating"], json({0, 7}));
  EXPECT_EQ(a["our_rating"]["mean_of_column"], 3.5);
  EXPECT_EQ(a["leakage"]["exact"], 2);
  auto text = run_program({"dataset", "info", folder / "a.csv", "--against", folder / "a.csv"});
  EXPECT_THAT(text.out, HasSubstr("leakage: 2 rows stand in"));
  write_file(folder / "m.csv", kHeader + "m,S  G,S##G,0\n");
  auto refused = run_program({"dataset", "info", folder / "m.csv"});
  EXPECT_THAT(error_line(refused), HasSubstr("line 2"));
  write_file(folder / "m.csv", kHeader + "m,\"S \n G\",\"So\n G\",0\n");
  EXPECT_EQ(info({folder / "m.csv"})["maze"]["labels_that_are_shortest"], 1);
  EXPECT_THAT(error_line(run_program({"dataset", "info", folder / "m.csv", "--rate"})),
              HasSubstr("for Sudoku"));
}

}  // namespace
}  // namespace trm
