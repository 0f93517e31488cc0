// trm eval and trm solve as a user runs them: results and error lines.
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/cli/tiny_model.h"
#include "tests/program.h"

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

TEST_F(SolveTest, ManyPuzzlesInPartsHaveTheAnswersOfOne) {
  std::string puzzles, other = "..34.412.143.3.1";
  for (int i = 0; i < 6; ++i) puzzles += (i % 2 ? other : kPuzzle) + "\n";
  std::vector<std::string> words = {"solve", "--checkpoint", model(), "--steps", "2", "--json"};
  auto whole = run_program(words, puzzles);
  words.insert(words.end(), {"--batch-size", "1", "--png", folder_ / "p.png"});
  auto parts = run_program(words, puzzles);  // of four puzzles
  ASSERT_EQ(parts.exit_code, 0) << parts.err;
  auto answers = [](const std::string& out) {
    std::vector<std::string> all;
    std::istringstream lines(out);
    for (std::string line; std::getline(lines, line);) {
      all.push_back(nlohmann::json::parse(line)["answer"]);
    }
    return all;
  };
  EXPECT_EQ(answers(whole.out).size(), 6u);
  EXPECT_EQ(answers(parts.out), answers(whole.out));
  EXPECT_NE(answers(whole.out)[0], answers(whole.out)[1]);
  EXPECT_TRUE(std::filesystem::exists(folder_ / "p_6.png"));
  // What cannot be solved with the others is said before there is an answer.
  auto mixed = run_program(words, puzzles + std::string(81, '.') + "\n");
  EXPECT_THAT(error_line(mixed), HasSubstr("size"));
  EXPECT_EQ(mixed.out, "");
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

TEST_F(SolveTest, TheShippedWeightsSolveAHardPuzzle) {
  const std::string hard =
      "7.....8....2..5....3..6..9..7.6....1...1.3.7.....7.9.....4.2....9..3..1..2..1643.";
  auto outcome = run_program({"solve", "--json", hard});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  auto line = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(line["verdict"], "solved");
  EXPECT_LT(line["steps"].size(), 16u);  // it stops where the rules are kept
  EXPECT_EQ(line["steps"].back()["answer"], line["answer"]);
  EXPECT_THAT(error({"solve", kPuzzle}), HasSubstr("weights for 9x9 Sudoku only"));
}

TEST_F(SolveTest, EvalOfSeveralAttempts) {
  auto outcome = run_program({"eval", model(), "--csv", csv(), "--steps", "2", "--select", "vote",
                              "--views", "3", "--json", folder_ / "r.json"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("one of 3 attempts by vote: 6.00 ACT steps a puzzle"));
  EXPECT_EQ(
      run_program({"eval", model(), "--csv", csv(), "--select", "q", "--halt", "q"}).exit_code, 2);
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

class SolveMazeTest : public testing::Test {
 protected:
  SolveMazeTest() { save_model(folder_ / "m.npz", 25, 6, 1, 3); }
  trm::Outcome solve(std::vector<std::string> words, const std::string& input = "") const {
    words.insert(words.begin(),
                 {"solve", "--checkpoint", folder_ / "m.npz", "arch.num_heads=2", "--steps", "2"});
    return run_program(words, input);
  }
  const std::string drawn_ = "S    \n# ###\n     \n### #\n    G\n";
  TempDir folder_;
};

TEST_F(SolveMazeTest, TextInAndTheSameFormOut) {
  auto drawn = solve({}, drawn_);
  ASSERT_EQ(drawn.exit_code, 0) << drawn.err;
  EXPECT_EQ(drawn.out.size(), 30u);
  EXPECT_EQ(std::count(drawn.out.begin(), drawn.out.end(), '\n'), 5);
  auto line = drawn_;
  std::erase(line, '\n');
  auto lines = solve({}, line + "\n" + line + "\n");
  EXPECT_EQ(lines.out.size(), 52u);
  std::erase(drawn.out, '\n');
  EXPECT_EQ(lines.out.substr(0, 25), drawn.out);
  // Open cells at the ends of lines that an editor has cut.
  write_file(folder_ / "maze.txt", "S\n# ###\n\n### #\n    G\n");
  EXPECT_EQ(solve({folder_ / "maze.txt", "--line"}).out, drawn.out + "\n");
}

TEST_F(SolveMazeTest, DrawsJsonAndPicture) {
  auto outcome = solve({"--grid", "--png", folder_ / "p.png"}, drawn_);
  EXPECT_THAT(outcome.out, HasSubstr("step  changed  halt"));
  EXPECT_THAT(outcome.out, HasSubstr("wrong: "));
  EXPECT_EQ(outcome.out.find('\033'), std::string::npos);
  EXPECT_THAT(read_file(folder_ / "p.png"), StartsWith("\x89PNG"));
  auto line = nlohmann::json::parse(solve({"--json"}, drawn_).out);
  EXPECT_EQ(line["answer"].get<std::string>().size(), 25u);
  EXPECT_EQ(line["steps"].size(), 2u);
  auto one_line = drawn_;
  std::erase(one_line, '\n');
  solve({"--png", folder_ / "q.png"}, one_line + "\n" + one_line + "\n");
  EXPECT_TRUE(std::filesystem::exists(folder_ / "q_1.png"));
  EXPECT_TRUE(std::filesystem::exists(folder_ / "q_2.png"));
}

TEST_F(SolveMazeTest, RefusesWhatIsNoMaze) {
  auto error = [&](const std::string& input) { return error_line(solve({}, input)); };
  EXPECT_THAT(error("S G\n"), HasSubstr("3 cells do not make a square"));
  EXPECT_THAT(error("SS\nG \n"), HasSubstr("2 cells are S"));
  EXPECT_THAT(error("S \n#x\n"), HasSubstr("'x'"));
  EXPECT_THAT(error("S \n G\n1234\n"), StartsWith("trm: error: "));
  EXPECT_THAT(error("S" + std::string(65 * 65 - 2, ' ') + "G\n"), HasSubstr("a side of 65"));
  EXPECT_THAT(error_line(solve({"no/such.txt"})), HasSubstr("no/such.txt: no such file"));
  EXPECT_THAT(error_line(solve({"S  G", "1.3..41..1.34..1"})), HasSubstr("several kinds"));
}

class SolveArcTest : public testing::Test {
 protected:
  SolveArcTest() {
    save_model(folder_ / "m.npz", 900, 12, 4, 3);
    write_file(folder_ / "identifiers.json", R"(["<blank>", "a", "a|||t1|||0213456789", "ab"])");
    write_file(folder_ / "a.json", task_);
  }
  trm::Outcome solve(std::vector<std::string> words, const std::string& input = "") const {
    words.insert(words.begin(),
                 {"solve", "--checkpoint", folder_ / "m.npz", "arch.num_heads=2", "--steps", "1"});
    return run_program(words, input);
  }
  const std::string task_ = R"({"train": [{"input": [[1]], "output": [[2]]}],
                                "test": [{"input": [[1, 2], [3, 4]]}, {"input": [[5]], "output": [[6]]}]})";
  TempDir folder_;
};

TEST_F(SolveArcTest, KnownFormsVote) {
  auto outcome = solve({folder_ / "a.json", "--data", folder_.path(), "--json"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.err.find("none of the"), std::string::npos);
  std::istringstream lines(outcome.out);
  std::string first, second;
  std::getline(lines, first);
  std::getline(lines, second);
  auto a = nlohmann::json::parse(first), b = nlohmann::json::parse(second);
  EXPECT_EQ(a["views"], 2) << "the task's own form and the turned one, not those of task ab";
  int votes = 0;
  for (auto& answer : a["answers"]) votes += answer["votes"].get<int>();
  EXPECT_EQ(votes, 2);
  EXPECT_THAT(a["verdict"], HasSubstr("no solution"));
  EXPECT_EQ(b["verdict"], "wrong");
  auto one = solve({folder_ / "a.json", "--data", folder_.path(), "--json", "--views", "1"});
  EXPECT_EQ(nlohmann::json::parse(one.out.substr(0, one.out.find('\n')))["views"], 1);
}

TEST_F(SolveArcTest, PipedItIsASubmissionDrawnItIsAPicture) {
  auto submission =
      nlohmann::json::parse(solve({folder_ / "a.json", "--data", folder_.path()}).out);
  EXPECT_EQ(submission["a"].size(), 2u);
  EXPECT_TRUE(submission["a"][0].contains("attempt_2"));
  auto drawn =
      solve({folder_ / "a.json", "--data", folder_.path(), "--grid", "--png", folder_ / "p.png"});
  EXPECT_THAT(drawn.out, HasSubstr("a, test 1, answer 1: "));
  EXPECT_THAT(read_file(folder_ / "p_2.png"), StartsWith("\x89PNG"));
}

TEST_F(SolveArcTest, AnUnknownTaskIsSaidToBeAGuess) {
  auto outcome = solve({"--data", folder_.path()}, task_);
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_THAT(outcome.err, HasSubstr("task is none of the 4 puzzles in identifiers.json"));
  EXPECT_THAT(outcome.err, HasSubstr("has no embedding for it"));
  EXPECT_TRUE(nlohmann::json::parse(outcome.out).contains("task"));
}

TEST_F(SolveArcTest, RefusesWhatIsNoTask) {
  auto error = [&](const std::string& input) {
    return error_line(solve({"--data", folder_.path()}, input));
  };
  EXPECT_THAT(error_line(solve({folder_ / "a.json"})), HasSubstr("--data DIR"));
  EXPECT_THAT(error("{"), HasSubstr("not valid JSON"));
  EXPECT_THAT(error("{}"), HasSubstr("no ARC task"));
  EXPECT_THAT(error("[]"), HasSubstr("no ARC task"));
  EXPECT_THAT(error(R"({"a": 3})"), HasSubstr("\"train\" and \"test\""));
  EXPECT_THAT(error(R"({"train": [], "test": []})"), HasSubstr("lists no pairs"));
  EXPECT_THAT(error_line(solve({folder_ / "a.json", folder_ / "a.json", "--data", folder_.path()})),
              HasSubstr("given twice"));
  write_file(folder_ / "identifiers.json", R"(["<blank>", "b", "c", "d", "e", "a"])");
  EXPECT_THAT(error_line(solve({folder_ / "a.json", "--data", folder_.path()})),
              HasSubstr("identifiers beyond the model's 4"));
}

}  // namespace
}  // namespace trm
