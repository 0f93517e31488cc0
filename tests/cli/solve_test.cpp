// trm eval and trm solve as a user runs them: results and error lines.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/program.h"
#include "trm/checkpoint/checkpoint.h"
#include "trm/models/model.h"

namespace trm {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

const std::string kPuzzle = "1.3..41..1.34..1";

class SolveTest : public testing::Test {
 protected:
  void SetUp() override {  // an untrained model for 4x4 Sudoku: digits + 1 and padding, 6 tokens
    ArchConfig c;
    c.hidden_size = 16;
    c.num_heads = 2;
    c.L_layers = 1;
    c.mlp_t = true;
    c.pos_encodings = PosEncoding::none;
    c.puzzle_emb_ndim = 16;
    save_npz(model(), named_arrays(make_model(c, {16, 6, 1}, mx::random::key(3))));
    write_file(csv(), "source,question,answer,rating\na," + kPuzzle + ",1234341221434321,0\n");
  }
  std::string model() const { return folder_ / "model.npz"; }
  std::string csv() const { return folder_ / "test.csv"; }
  std::string error(const std::vector<std::string>& arguments,
                    const std::string& input = "") const {
    return error_line(run_program(arguments, input));
  }
  TempDir folder_;
};

TEST_F(SolveTest, AnswersOneLineAPuzzleWhenPiped) {
  auto outcome = run_program({"solve", "--checkpoint", model(), "--steps", "2"},
                             kPuzzle + "\r\n" + kPuzzle + "\n");
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.out.size(), 2 * 17u);
  EXPECT_EQ(outcome.out.substr(0, 17), outcome.out.substr(17));
  EXPECT_THAT(outcome.err, HasSubstr("no all_config.yaml beside the checkpoint"));
}

TEST_F(SolveTest, WritesEveryStepAsJson) {
  auto outcome = run_program({"solve", "--checkpoint", model(), "--steps", "3", "--json", kPuzzle});
  auto line = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(line["puzzle"], kPuzzle);
  EXPECT_EQ(line["steps"].size(), 3u);
  EXPECT_EQ(line["steps"][2]["answer"], line["answer"]);
}

TEST_F(SolveTest, DrawsTheGridWithoutColoursOffATerminal) {
  auto outcome = run_program({"solve", "--checkpoint", model(), "--steps", "2", "--grid", kPuzzle});
  EXPECT_THAT(outcome.out, HasSubstr("+-----+-----+\n"));
  EXPECT_THAT(outcome.out, HasSubstr("halting probability"));
  EXPECT_EQ(outcome.out.find('\033'), std::string::npos);
}

TEST_F(SolveTest, RefusesBadPuzzles) {
  auto solve = [&](const std::string& puzzle) {
    return error({"solve", "--checkpoint", model(), puzzle});
  };
  EXPECT_THAT(solve("12"), StartsWith("trm: error: puzzle 1: "));
  EXPECT_THAT(solve("1.3..41..1.34..x"), HasSubstr("'x'"));
  EXPECT_THAT(solve("11.............."), HasSubstr("contradictory givens"));
  EXPECT_THAT(solve(std::string(81, '.')), HasSubstr("for puzzles of 16 cells, not 81"));
  EXPECT_THAT(error({"solve", "--checkpoint", model()}), HasSubstr("no puzzle on stdin"));
}

TEST_F(SolveTest, RefusesBadCheckpoints) {
  write_file(folder_ / "empty", "");
  write_file(folder_ / "text", "hello, this is no checkpoint");
  for (auto file : {"empty", "text", "missing"}) {
    auto line = error({"solve", "--checkpoint", folder_ / file, kPuzzle});
    EXPECT_THAT(line, StartsWith("trm: error: ")) << file;
    EXPECT_THAT(line, HasSubstr(file)) << file;
  }
}

TEST_F(SolveTest, UsageErrorsExitWithTwo) {
  EXPECT_EQ(run_program({"solve", kPuzzle}).exit_code, 2);
  EXPECT_EQ(run_program({"solve", "--checkpoint", model(), "--steps", "0", kPuzzle}).exit_code, 2);
  EXPECT_EQ(run_program({"eval", model()}).exit_code, 2);
  EXPECT_EQ(run_program({"nonsense"}).exit_code, 2);
}

TEST_F(SolveTest, EvalWritesMetricsAndPredictions) {
  auto outcome = run_program({"eval", model(), "--csv", csv(), "--steps", "2", "--json",
                              folder_ / "r.json", "--save-preds", folder_ / "p.npz"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  auto result = nlohmann::json::parse(read_file(folder_ / "r.json"));
  for (auto key : {"accuracy", "exact_accuracy", "q_halt_accuracy", "steps", "lm_loss", "count"}) {
    EXPECT_TRUE(result.contains(key)) << key;
  }
  EXPECT_EQ(result["count"], 1);
  EXPECT_EQ(result["by_step"].size(), 2u);
  EXPECT_EQ(load_checkpoint(folder_ / "p.npz").find("preds")->shape(), (mx::Shape{2, 1, 16}));
}

TEST_F(SolveTest, EvalNamesTheLineOfAMalformedCsv) {
  write_file(csv(),
             "source,question,answer,rating\na," + kPuzzle + ",1234341221434321,0\nb,1,2,3\n");
  EXPECT_THAT(error({"eval", model(), "--csv", csv()}), HasSubstr("test.csv line 3"));
}

TEST_F(SolveTest, EvalRefusesOverridesThatDoNotFit) {
  EXPECT_THAT(error({"eval", model(), "arch.hiden_size=3", "--csv", csv()}),
              HasSubstr("hidden_size"));
  EXPECT_THAT(error({"eval", model(), "arch.L_layers=2", "--csv", csv()}),
              HasSubstr("missing: model.inner.L_level.layers.1"));
}

}  // namespace
}  // namespace trm
