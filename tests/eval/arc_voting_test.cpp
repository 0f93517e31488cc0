#include "trm/eval/arc_voting.h"

#include <gmock/gmock.h>

#include "tests/data/data_test_util.h"

namespace trm {
namespace {

using test::golden;
using testing::ElementsAre;
using testing::HasSubstr;

std::vector<int32_t> tokens(const Grid& grid) { return arc_tokens(grid); }

TEST(ArcCrop, LargestRectangleOfColours) {
  Grid g{2, 3, {1, 2, 3, 4, 5, 6}};
  EXPECT_EQ(crop_arc(tokens(g).data()), g);
  auto t = tokens(g);
  t[1] = kArcPad;  // a first row of one cell: 2x1 is the most
  EXPECT_EQ(crop_arc(t.data()), (Grid{2, 1, {1, 4}}));
  t = tokens(g);
  t[30] = 12;  // no colour: the first row remains
  EXPECT_EQ(crop_arc(t.data()), (Grid{1, 3, {1, 2, 3}}));
  t[0] = kArcEnd;
  EXPECT_EQ(crop_arc(t.data()), (Grid{0, 0, {}}));
  Grid full{30, 30, std::vector<uint8_t>(900, 9)};
  EXPECT_EQ(crop_arc(tokens(full).data()), full);
}

/// A data set's two files with the task "a" (two test inputs) and "b" (one), each in two forms.
struct Votes {
  Votes() {
    write_file(dir / "identifiers.json", R"(["<blank>", "a", "a|||t1|||0213456789", "b", "c"])");
    write_file(dir / "test_puzzles.json",
               R"({"a": {"train": [{"input": [[1]], "output": [[1]]}],
                         "test": [{"input": [[1, 2]], "output": [[2, 1]]},
                                  {"input": [[3, 3]], "output": [[4]]}]},
                   "b": {"test": [{"input": [[5]], "output": [[5]]}],
                         "train": [{"input": [[1]], "output": [[1]]}]}})");
  }
  ArcVoting voting(ArcVotingOptions o = {}) { return ArcVoting(dir.path(), o); }
  TempDir dir;
};

void add(ArcVoting& v, int id, const Grid& input, const Grid& prediction, double q) {
  v.add(id, tokens(input).data(), tokens(prediction).data(), q);
}

const Grid kIn{1, 2, {1, 2}}, kRight{1, 2, {2, 1}}, kWrong{1, 1, {7}};

TEST(ArcVoting, VotesThenConfidence) {
  Votes files;
  auto v = files.voting();
  v.begin_round();
  add(v, 1, kIn, kWrong, 3);
  add(v, 0, kIn, kWrong, 9);     // padding
  add(v, 4, kIn, kWrong, 9);     // no test task
  add(v, 1, kWrong, kRight, 9);  // no input of the task
  // The turned and recoloured form of the same question and the right answer to it.
  auto form = parse_arc_name("a|||t1|||0213456789").augmentation;
  add(v, 2, form(kIn), form(kRight), 1);
  auto s = v.scores();
  EXPECT_THAT(s.missing, ElementsAre("a", "b"));
  // One vote each; the wrong one is more confident.
  EXPECT_EQ(s.pass_at[0], (std::pair{1, 0.0}));
  EXPECT_EQ(s.pass_at[1], (std::pair{2, 0.25}));
  add(v, 1, kIn, kRight, -9);
  s = v.scores();
  EXPECT_EQ(s.pass_at[0], (std::pair{1, 0.25}));  // two votes, however doubtful, beat one
  EXPECT_EQ(s.submission,
            "{\"a\": [{\"attempt_1\": [[2, 1]], \"attempt_2\": [[7]]}, "
            "{\"attempt_1\": [[0]], \"attempt_2\": [[0]]}], "
            "\"b\": [{\"attempt_1\": [[0]], \"attempt_2\": [[0]]}]}");
}

TEST(ArcVoting, RoundsPooledOrAlone) {
  Votes files;
  for (bool pooled : {true, false}) {
    auto v = files.voting({.pooled = pooled});
    for (int round = 0; round < 2; ++round) {
      v.begin_round();
      add(v, 1, kIn, round ? kWrong : kRight, 0);
    }
    auto s = v.scores();
    EXPECT_EQ(s.rounds, pooled ? 2 : 1);
    EXPECT_EQ(s.pass_at[0].second, pooled ? 0.25 : 0.0) << "ties keep the order of arrival";
  }
}

TEST(ArcVoting, ProcessesTogetherCountAsOne) {
  Votes files;
  auto one = files.voting(), a = files.voting(), b = files.voting();
  for (auto* v : {&one, &a, &b}) v->begin_round();
  for (auto* v : {&one, &a}) add(*v, 1, kIn, kWrong, 1);
  for (auto* v : {&one, &b}) {
    add(*v, 1, kIn, kRight, 0);
    add(*v, 1, kIn, kRight, 2);
  }
  a.merge(b.state());
  EXPECT_EQ(a.state(), one.state());
  EXPECT_EQ(a.scores().submission, one.scores().submission);
  EXPECT_THAT(error_of([&] { a.merge("{\"rounds\": 1, \"tasks\": []}"); }),
              HasSubstr("another data set"));
  EXPECT_THAT(error_of([&] { a.merge("x"); }), HasSubstr("damaged"));
  EXPECT_THAT(
      error_of([&] { a.merge(R"({"rounds": 1, "tasks": [[[[9, 9, [1], 1, 0.5]], []], [[]]]})"); }),
      HasSubstr("damaged"));
}

TEST(ArcVoting, WrongFilesAndIdentifiersAreNamed) {
  Votes files;
  auto v = files.voting();
  EXPECT_THAT(error_of([&] { add(v, 5, kIn, kRight, 0); }), HasSubstr("identifier 5"));
  EXPECT_THAT(error_of([&] { add(v, -1, kIn, kRight, 0); }), HasSubstr("identifier -1"));
  EXPECT_THAT(error_of([&] { files.voting({.attempts = 0}); }), HasSubstr("attempt"));
  write_file(files.dir / "test_puzzles.json", "[]");
  EXPECT_THAT(error_of([&] { files.voting(); }), HasSubstr("object of tasks"));
  std::filesystem::remove(files.dir / "identifiers.json");
  EXPECT_THAT(error_of([&] { files.voting(); }), HasSubstr("no such file"));
}

// ---- against the recorded reference ----

TEST(ArcVotingGolden, PassRatesAndSubmissionsAreTheReferences) {
  if (!std::filesystem::exists(golden("arc_eval")))
    GTEST_SKIP() << "needs ../shared/golden/arc_eval";
  auto record = nlohmann::json::parse(read_file(golden("arc_eval/eval_a.json")));
  auto tensors = test::load_tensors(golden("arc_eval/eval_a.safetensors"));
  TempDir dir;
  for (std::string name : {"identifiers.json", "test_puzzles.json"}) {
    std::filesystem::copy_file(golden("arc_eval/eval_a." + name), dir / name);
  }
  int compared = 0;
  for (bool pooled : {true, false}) {
    for (std::string kind : {"default", "custom"}) {
      ArcVotingOptions o{.pooled = pooled, .skip_missing = true};
      if (kind == "custom") {
        o.pass_at = {1, 2, 3};
        o.attempts = 3;
      }
      ArcVoting voting(dir.path(), o);
      for (int round = 0; round < 2; ++round) {
        auto key = fmt::format("aggregated_voting_{}.{}.after_round{}", pooled, kind, round);
        SCOPED_TRACE(key);
        auto of = [&](const char* name) { return tensors[fmt::format("round{}.{}", round, name)]; };
        auto inputs = of("inputs").as<uint8_t>(), preds = of("preds").as<uint8_t>();
        auto ids = of("puzzle_identifiers").as<int32_t>();
        auto q = of("q_halt_logits").as<float>();
        voting.begin_round();
        for (size_t i = 0; i < ids.size(); ++i) {
          std::vector<int32_t> in(inputs.begin() + 900 * static_cast<long>(i),
                                  inputs.begin() + 900 * static_cast<long>(i + 1));
          std::vector<int32_t> out(preds.begin() + 900 * static_cast<long>(i),
                                   preds.begin() + 900 * static_cast<long>(i + 1));
          voting.add(ids[i], in.data(), out.data(), q[i]);
        }
        auto scores = voting.scores();
        auto& expected = record["results"][key];
        for (auto& [k, share] : scores.pass_at) {
          EXPECT_DOUBLE_EQ(share, expected["metrics"][fmt::format("ARC/pass@{}", k)].get<double>())
              << k;
        }
        EXPECT_EQ(scores.submission,
                  read_file(golden("arc_eval/eval_a." + key + ".submission.json")));
        ++compared;
      }
    }
  }
  EXPECT_EQ(compared, 8);
}

}  // namespace
}  // namespace trm
