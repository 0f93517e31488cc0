#include <set>

#include <gmock/gmock.h>

#include "tests/data/data_test_util.h"
#include "tests/data/sha256.h"
#include "trm/data/arc_dataset.h"
#include "trm/data/json_file.h"

namespace trm {
namespace {

using test::golden;
using test::write_small_arc;
using testing::HasSubstr;

TEST(ArcName, SuffixAndBack) {
  NumpyMt19937 rng(4);
  Grid g{2, 3, {0, 1, 2, 3, 9, 0}};
  for (int i = 0; i < 100; ++i) {
    auto a = ArcAugmentation::draw(rng);
    auto name = parse_arc_name("007bbfb7" + a.suffix());
    EXPECT_EQ(name.task, "007bbfb7");
    EXPECT_EQ(name.augmentation, a);
    EXPECT_EQ(a.inverse(a(g)), g);
    EXPECT_EQ(a.colours[0], 0);
  }
  EXPECT_EQ(parse_arc_name("abc").augmentation, ArcAugmentation{});
  for (const char* bad : {"a|||t8|||0123456789", "a|||t1|||0123456788", "a|||t1|||012345678",
                          "a|||x1|||0123456789", "a|||t1", "a|||t1|||0123456789|||"}) {
    EXPECT_THAT(error_of([&] { parse_arc_name(bad); }), HasSubstr("is no identifier")) << bad;
  }
}

TEST(ArcTokens, PlacedWithItsEdge) {
  std::vector<uint8_t> out(kArcCells);
  Grid g{1, 2, {3, 0}};
  write_arc_tokens(g, dihedral_source(1, 2, 0), 1, 2, ArcAugmentation{}.colours, 4, 5, out.data());
  EXPECT_EQ(out[4 * 30 + 5], 5);
  EXPECT_EQ(out[4 * 30 + 6], 2);
  EXPECT_EQ(out[4 * 30 + 7], kArcEnd);
  EXPECT_EQ(out[5 * 30 + 5], kArcEnd);
  EXPECT_EQ(out[5 * 30 + 6], kArcEnd);
  EXPECT_EQ(std::count(out.begin(), out.end(), kArcPad), 900 - 5);
  Grid full{30, 30, std::vector<uint8_t>(900, 1)};
  write_arc_tokens(full, dihedral_source(30, 30, 0), 30, 30, ArcAugmentation{}.colours, 0, 0,
                   out.data());
  EXPECT_EQ(std::count(out.begin(), out.end(), 3), 900);
}

TEST(ArcTask, BrokenTasksAreNamed) {
  auto why = [](const std::string& json) {
    return error_of([&] { parse_arc_task("t1", parse_json(json, "x.json")); });
  };
  const std::string pair = R"([{"input": [[1, 2]], "output": [[3]]}])";
  EXPECT_EQ(why(R"({"train": )" + pair + R"(, "test": [{"input": [[1]]}]})"), "");
  EXPECT_THAT(why("[]"), HasSubstr("task t1: an object with"));
  EXPECT_THAT(why(R"({"train": )" + pair + "}"), HasSubstr("an object with"));
  EXPECT_THAT(why(R"({"train": )" + pair + R"(, "test": []})"), HasSubstr("lists no pairs"));
  EXPECT_THAT(why(R"({"test": )" + pair + R"(, "train": [{"input": [[1]]}]})"),
              HasSubstr("\"output\""));
  for (std::string grid :
       {"[]", "[[]]", "[[1],[1,2]]", "[[10]]", "[[-1]]", "[[1.5]]", "[[\"1\"]]", "3"}) {
    EXPECT_NE(
        why(R"({"train": [{"input": )" + grid + R"(, "output": [[1]]}], "test": )" + pair + "}"),
        "");
  }
  std::string wide = "[[0";
  for (int i = 0; i < 30; ++i) wide += ",0";
  EXPECT_THAT(
      why(R"({"train": [{"input": )" + wide + R"(]], "output": [[1]]}], "test": )" + pair + "}"),
      HasSubstr("1 to 30 cells"));
  EXPECT_THAT(error_of([&] { parse_arc_task("a|||t1", parse_json("{}", "x")); }),
              HasSubstr("name"));
}

TEST(ArcDataset, WhatIsWrittenIsTheTasksAugmented) {
  TempDir dir;
  auto o = write_small_arc(dir.path());
  auto report = write_arc_dataset(dir / "d", o);
  EXPECT_EQ(report.tasks, 4);
  EXPECT_EQ(report.without_solutions, std::vector<std::string>{"odd"});
  // Two black cells stand or lie: no other form.
  EXPECT_THAT(report.not_full, testing::Contains(std::pair<std::string, int64_t>{"o1", 2}));
  PuzzleDataset train({dir / "d"}, "train"), held({dir / "d"}, "test");
  EXPECT_EQ(train.groups(), 4);
  EXPECT_EQ(held.groups(), 2);
  EXPECT_EQ(train.examples(), report.train_examples);
  EXPECT_EQ(held.examples(), report.test_examples);
  auto names = read_identifiers(dir / "d/identifiers.json");
  EXPECT_EQ(static_cast<int64_t>(names.size()), report.identifiers);
  EXPECT_EQ(names[0], "<blank>");
  EXPECT_EQ(std::set<std::string>(names.begin(), names.end()).size(), names.size());
  EXPECT_THAT(read_file(dir / "d/test_puzzles.json"), HasSubstr("\"output\": [[0]]"));
}

TEST(ArcDataset, BrokenInputIsNamed) {
  TempDir dir;
  auto o = write_small_arc(dir.path());
  auto why = [&] { return error_of([&] { write_arc_dataset(dir / "d", o); }); };
  auto with = [&](auto&& change) {
    auto saved = o;
    change(o);
    auto text = why();
    o = saved;
    return text;
  };
  EXPECT_THAT(with([](auto& x) { x.subsets = {}; }), HasSubstr("no subsets"));
  EXPECT_THAT(with([](auto& x) { x.test_set_name = "evaluation"; }),
              HasSubstr("none of the subsets"));
  EXPECT_THAT(with([](auto& x) {
                x.subsets = {"odd", "none"};
              }),
              HasSubstr("arc_none_challenges.json"));
  EXPECT_THAT(with([](auto& x) { x.puzzle_identifiers_start = 0; }), HasSubstr("at least 1"));
  write_file(dir / "arc_even_solutions.json", "{\"e0\": [[[1, 2]]]}");
  EXPECT_THAT(why(), HasSubstr("lacks task e1"));
  write_file(dir / "arc_even_solutions.json", "{\"e0\": [[[1]], [[2]]], \"e1\": [[[3]]]}");
  EXPECT_THAT(why(), HasSubstr("more solutions"));
  write_file(dir / "arc_even_challenges.json", "{\"e0\": 3}");
  EXPECT_NE(why(), "");
  write_file(dir / "arc_even_challenges.json", "{\"e0\"");
  EXPECT_THAT(why(), HasSubstr("not valid JSON"));
  EXPECT_FALSE(std::filesystem::exists(dir / "d"));
  EXPECT_THAT(error_of([&] {
                write_file(dir / "ids.json", "[\"<blank>\", 3]");
                read_identifiers(dir / "ids.json");
              }),
              HasSubstr("entry 1 is not a string"));
}

// ---- against the recorded reference ----

TEST(ArcDatasetGolden, SmallSetsAreTheReferencesByteForByte) {
  if (!std::filesystem::exists(golden("dataset"))) GTEST_SKIP() << "needs ../shared/golden/dataset";
  for (std::string name : {"arc_small_a", "arc_small_identity_heavy"}) {
    SCOPED_TRACE(name);
    auto record = nlohmann::json::parse(read_file(golden("dataset/" + name + ".json")));
    TempDir dir;
    write_arc_dataset(dir / "d",
                      {.input_file_prefix = golden("dataset/" + name + "_src/arc-agi").string(),
                       .subsets = record["subsets"],
                       .test_set_name = record["test_set_name"],
                       .seed = record["seed"],
                       .num_aug = record["num_aug"]});
    test::expect_recorded_files(golden("dataset/" + name + ".json"), dir / "d");
  }
}

TEST(ArcDatasetGolden, WholeArc1WithTwentyFormsByteForByte) {
  auto archive = test::shared_data("arc/arc-agi-kaggle-combined.tar.xz");
  if (!std::filesystem::exists(archive)) GTEST_SKIP() << "needs ../shared/data/arc";
  TempDir dir;
  if (std::system(
          fmt::format("tar -xf '{}' -C '{}' 2>/dev/null", archive.string(), dir.path().string())
              .c_str())) {
    GTEST_SKIP() << "needs tar and xz";
  }
  write_arc_dataset(dir / "d", {.input_file_prefix = (dir / "arc-agi").string(),
                                .subsets = {"training", "evaluation", "concept"},
                                .test_set_name = "evaluation",
                                .num_aug = 20});
  test::expect_recorded_files(golden("dataset/arc1_concept_aug20_seed42_sha.json"), dir / "d");
}

}  // namespace
}  // namespace trm
