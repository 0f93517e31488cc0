// trm eval as a user runs it: several checkpoints, halting, mazes, ARC votes, saved answers,
// processes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/cli/tiny_model.h"
#include "tests/data/data_test_util.h"
#include "tests/program.h"
#include "tests/train/ring_test_util.h"
#include "trm/checkpoint/checkpoint.h"
#include "trm/data/maze_dataset.h"

namespace trm {
namespace {

using nlohmann::json;
using test::golden;
using testing::HasSubstr;

class EvalTest : public testing_run::RingTest {
 protected:
  std::string at(const std::string& name) const { return (folder_ / name).string(); }
  json read_json(const std::string& name) const { return json::parse(read_file(at(name))); }
  /// Runs `trm eval words… --json r.json` and gives what it wrote.
  json eval(std::vector<std::string> words) {
    words.insert(words.begin(), "eval");
    words.insert(words.end(), {"arch.num_heads=2", "--threads", "1", "--json", at("r.json")});
    outcome_ = run_program(words);
    EXPECT_EQ(outcome_.exit_code, 0) << outcome_.err;
    return outcome_.exit_code ? json() : read_json("r.json");
  }
  /// Words of an evaluation that takes minutes.
  std::vector<std::string> long_run() const {
    save_model(at("a.npz"), 16, 6, 1, 1);
    std::string csv = "source,question,answer,rating\n";
    for (int i = 0; i < 20000; ++i) csv += "a,1.3..41..1.34..1,1234341221434321,0\n";
    write_file(at("t.csv"), csv);
    return {at("a.npz"),    "--csv",    at("t.csv"), "arch.num_heads=2",
            "--steps",      "64",       "--threads", "1",
            "--batch-size", "8",        "--json",    at("r.json"),
            "--save-preds", at("p.npz")};
  }
  std::string error(std::vector<std::string> words) const {
    words.insert(words.begin(), "eval");
    return error_line(run_program(words));
  }
  trm::Outcome outcome_;
};

TEST_F(EvalTest, SeveralCheckpointsIntervalsAndRatings) {
  save_model(at("a.npz"), 16, 6, 1, 1);
  save_model(at("b.npz"), 16, 6, 1, 2);
  std::string csv = "source,question,answer,rating\n";
  for (int i = 0; i < 5; ++i) {
    csv += "a,1.3..41..1.34..1,1234341221434321," + std::to_string(i * 7) + "\n";
  }
  write_file(at("t.csv"), csv);
  auto r = eval({at("a.npz"), at("b.npz"), "--csv", at("t.csv"), "--steps", "2", "--save-preds",
                 at("p.npz")})["results"];
  ASSERT_EQ(r.size(), 2u);
  EXPECT_EQ(r[0]["checkpoint"], at("a.npz"));
  EXPECT_EQ(r[1]["checkpoint"], at("b.npz"));
  EXPECT_EQ(r[0]["exact_accuracy_interval"].size(), 2u);
  std::vector<std::string> classes;
  for (auto& line : r[0]["by_rating"]) classes.push_back(line["rating"]);
  EXPECT_EQ(classes, (std::vector<std::string>{"0", "5-9", "10-19", "20-49"}));
  EXPECT_EQ(r[0]["by_rating"][3]["count"], 2);
  // Each one's answers stand in a file of their own, and are judged alike from there.
  for (std::string name : {"a", "b"}) {
    auto again = eval({"--preds", at("p_" + name + ".npz"), "--csv", at("t.csv")});
    EXPECT_EQ(again["accuracy"], r[name == "b"]["accuracy"]);
    EXPECT_EQ(again["by_step"], r[name == "b"]["by_step"]);
    EXPECT_FALSE(again.contains("lm_loss"));
  }
}

TEST_F(EvalTest, HaltingIsComparedWithAllSteps) {
  save_model(at("a.npz"), 16, 6, 1, 1);
  auto r = eval({at("a.npz"), "--data", at("data"), "--steps", "8", "--halt", "q", "--compare",
                 "--batch-size", "4"});
  EXPECT_EQ(r["halt"], "q");
  EXPECT_EQ(r["rows"], 10);
  EXPECT_EQ(r["all_steps"]["steps_computed"], 8);
  EXPECT_LT(r["steps_computed"], 8);
  EXPECT_EQ(r["steps_computed"], r["all_steps"]["at_q_halt"]["steps"]);
  EXPECT_EQ(r["exact_accuracy"], r["all_steps"]["at_q_halt"]["exact_accuracy"]);
  EXPECT_THAT(error({at("a.npz"), "--data", at("data"), "--compare"}), HasSubstr("needs"));
}

TEST_F(EvalTest, MazesFromFolderAndCsv) {
  save_model(at("m.npz"), 64, 6, 1, 3);
  auto made = generate_mazes(8, 6, 4, 6, 1);
  write_maze_dataset(at("maze"), made.train, made.test, {});
  std::string csv = "source,question,answer,rating\n";
  for (auto& pair : made.test) {
    csv += "m,\"" + to_text(pair.question) + "\",\"" + to_text(pair.answer) + "\",0\n";
  }
  write_file(at("m.csv"), csv);
  auto from_folder = eval({at("m.npz"), "--data", at("maze")});
  EXPECT_EQ(from_folder["kind"], "maze");
  EXPECT_TRUE(from_folder.contains("valid_and_shortest"));
  auto from_csv = eval({at("m.npz"), "--csv", at("m.csv")});
  EXPECT_EQ(from_csv["accuracy"], from_folder["accuracy"]);
  // Other shortest paths than the label are right by the paper's criterion.
  std::vector<int32_t> preds;
  int other_paths = 0;
  for (auto& pair : made.test) {
    Grid answer = dihedral(*solve_maze(dihedral(pair.question, 6)), 6);  // found in another order
    other_paths += answer != pair.answer;
    preds.insert(preds.end(), answer.cells.begin(), answer.cells.end());
  }
  ASSERT_GT(other_paths, 0);
  save_npz(at("p.npz"), {{"preds", mx::array(preds.data(), {6, 64}, mx::int32)},
                         {"q_halt_logits", mx::zeros({6})}});
  auto r = eval({"--preds", at("p.npz"), "--data", at("maze")});
  EXPECT_EQ(r["valid_and_shortest"], 1);
  EXPECT_EQ(r["valid"], 1);
  EXPECT_DOUBLE_EQ(r["exact_accuracy"], (6 - other_paths) / 6.0);
}

TEST_F(EvalTest, StoppedBySignalsShowsWhatIsMeasuredAndWritesNothing) {
  auto pid = start(long_run(), nullptr, {}, "", "eval");
  wait_for_signals(pid, "SigCgt", SIGTERM);
  for (int i = 0; i < 2; ++i) kill(pid, SIGTERM), usleep(10000);  // as timeout(1) does it
  auto stopped = finish(pid);
  EXPECT_EQ(stopped.status, 1);
  EXPECT_THAT(stopped.out, HasSubstr("exact_accuracy"));
  EXPECT_THAT(stopped.err, HasSubstr("trm: error: [eval] stopped by a signal"));
  EXPECT_FALSE(std::filesystem::exists(at("r.json")));
  EXPECT_FALSE(std::filesystem::exists(at("p.npz")));
}

TEST_F(EvalTest, ALostProcessEndsTheOthersByName) {
  auto words = long_run();
  words.resize(words.size() - 2);  // --save-preds is for one process
  auto pids = start_ring(3, words, "eval");
  for (auto pid : pids) wait_for_signals(pid, "SigIgn", SIGPIPE);  // they know of each other
  kill(pids[1], SIGKILL);
  for (int i : {0, 1, 2}) {
    auto result = finish(pids[static_cast<size_t>(i)], std::to_string(i));
    if (i == 1) continue;
    EXPECT_EQ(result.status, 1) << "rank " << i;
    EXPECT_THAT(result.err, HasSubstr("rank 1 is gone"));
  }
}

class ArcEvalTest : public EvalTest {
 protected:
  void SetUp() override {
    EvalTest::SetUp();
    auto options = test::write_small_arc(folder_);
    options.num_aug = 3;
    write_arc_dataset(folder_ / "arc", options);
    identifiers_ = static_cast<int>(read_identifiers(folder_ / "arc/identifiers.json").size());
    save_model(at("a.npz"), kArcCells, 12, identifiers_, 1);
    save_model(at("b.npz"), kArcCells, 12, identifiers_, 2);
  }
  int identifiers_ = 0;
};

TEST_F(ArcEvalTest, VotesAloneTogetherAndFromSavedAnswers) {
  auto r = eval({at("a.npz"), at("b.npz"), "--data", at("arc"), "--steps", "1", "--submission",
                 at("s.json"), "--save-preds", at("p.npz"), "--save-steps", "last"});
  auto alone = r["results"][0]["arc"];
  EXPECT_EQ(alone["votes_of"], at("a.npz"));
  EXPECT_EQ(alone["tasks"], 2);
  EXPECT_EQ(alone["tasks_without_votes"], 0);
  EXPECT_EQ(r["arc_pooled"]["votes_of"], "all 2 together");
  EXPECT_THAT(outcome_.out, HasSubstr("votes of all 2 together: pass@1 "));
  auto of_a = read_json("s_a.json"), of_b = read_json("s_b.json"), pooled = read_json("s.json");
  EXPECT_EQ(of_a["o0"][0].size(), 2u);
  EXPECT_NE(of_a, of_b);
  // The saved last steps vote alike.
  auto again = eval(
      {"--preds", at("p_a.npz"), at("p_b.npz"), "--data", at("arc"), "--submission", at("t.json")});
  EXPECT_EQ(again["arc_pooled"], r["arc_pooled"]);
  EXPECT_EQ(again["results"][0]["arc"]["pass_at"], alone["pass_at"]);
  EXPECT_EQ(read_file(at("t_p_b.json")), read_file(at("s_b.json")));
  EXPECT_EQ(read_file(at("t.json")), read_file(at("s.json")));
}

TEST_F(ArcEvalTest, SeveralProcessesShareTheWork) {
  auto one = eval({at("a.npz"), at("b.npz"), "--data", at("arc"), "--steps", "1", "--submission",
                   at("s.json")});
  run_ring(2,
           {at("a.npz"), at("b.npz"), "arch.num_heads=2", "--data", at("arc"), "--steps", "1",
            "--batch-size", "4", "--submission", at("t.json"), "--json", at("u.json")},
           "eval");
  auto two = read_json("u.json");
  EXPECT_EQ(two["results"][0]["rows"], one["results"][0]["rows"]);
  EXPECT_EQ(two["arc_pooled"], one["arc_pooled"]);
  EXPECT_EQ(two["results"][1]["arc"], one["results"][1]["arc"]);
  EXPECT_NEAR(two["results"][0]["accuracy"], one["results"][0]["accuracy"], 1e-3);
}

TEST_F(ArcEvalTest, PretrainVotesInSeveralProcesses) {
  auto words = this->words("v", {"evaluators=[{name: arc@ARC}]"});
  words[0] = "data_paths=[" + at("arc") + "]";
  words[2] = "epochs=2", words[3] = "eval_interval=1", words[5] = "lr=1e-4";
  run_ring(2, words);
  auto log = read(run_folder("v") / "metrics.jsonl");
  EXPECT_THAT(log, HasSubstr("ARC/pass@2"));
  int submissions = 0;
  for (auto& entry : std::filesystem::directory_iterator(run_folder("v"))) {
    submissions += entry.path().string().ends_with("_submission.json");
  }
  EXPECT_EQ(submissions, 2);
}

TEST_F(ArcEvalTest, BrokenAnswersAndWrongDataAreNamed) {
  auto save = [&](const NamedArrays& arrays) { save_npz(at("p.npz"), arrays); };
  auto why = [&] { return error({"--preds", at("p.npz"), "--data", at("arc")}); };
  save({{"preds", mx::zeros({1, 2, 900}, mx::int32)}});
  EXPECT_THAT(why(), HasSubstr("no preds and q_halt_logits"));
  save({{"preds", mx::zeros({1, 2, 900}, mx::float32)}, {"q_halt_logits", mx::zeros({1, 2})}});
  EXPECT_THAT(why(), HasSubstr("whole numbers"));
  save({{"preds", mx::zeros({3, 2, 900}, mx::int32)}, {"q_halt_logits", mx::zeros({1, 2})}});
  EXPECT_THAT(why(), HasSubstr("are expected"));
  save({{"preds", mx::zeros({1, 2, 900}, mx::int32)}, {"q_halt_logits", mx::zeros({1, 2})}});
  EXPECT_THAT(why(), HasSubstr("answers of 2 puzzles"));
  EXPECT_THAT(error({"--preds", at("p.npz")}), HasSubstr("--data"));
  save({{"preds", mx::zeros({1, 2, 900}, mx::int32)},
        {"q_halt_logits", mx::zeros({1, 2})},
        {"inputs", mx::zeros({2, 900}, mx::int32)},
        {"puzzle_identifiers", mx::full({2}, 100000, mx::int32)}});
  EXPECT_THAT(why(), HasSubstr("identifier 100000"));
  EXPECT_THAT(error({at("a.npz"), "--data", at("data"), "--submission", at("s.json")}),
              HasSubstr("needs an ARC data set"));
}

TEST_F(ArcEvalTest, DataThatTheModelCannotReadIsNamed) {
  save_model(at("few.npz"), kArcCells, 12, 2, 1);
  save_model(at("sudoku.npz"), 16, 5, 1, 1);
  auto why = [&](const std::string& model, const std::string& data) {
    return error({at(model), "arch.num_heads=2", "--data", at(data), "--limit", "3"});
  };
  EXPECT_THAT(why("few.npz", "arc"), HasSubstr("identifiers beyond the model's 2"));
  EXPECT_THAT(why("sudoku.npz", "data"), HasSubstr("tokens beyond the model's vocabulary of 5"));
  // A token outside the data set's own vocabulary, in a file of the right size.
  auto inputs = at("data") + "/test/all__inputs.npy";
  auto bytes = read_file(inputs);
  bytes.back() = '\x77';
  write_file(inputs, bytes);
  save_model(at("fits.npz"), 16, 6, 1, 1);
  EXPECT_THAT(error({at("fits.npz"), "arch.num_heads=2", "--data", at("data")}),
              HasSubstr("holds the token 119"));
  write_file(at("arc") + "/identifiers.json", R"(["<blank>"])");
  EXPECT_THAT(error({at("a.npz"), "arch.num_heads=2", "--data", at("arc"), "--limit", "1"}),
              HasSubstr("identifiers.json has 0..0"));
}

TEST(EvalGolden, SavedAnswersOfTheReferenceGiveItsSubmission) {
  if (!std::filesystem::exists(golden("arc_eval"))) {
    GTEST_SKIP() << "needs ../shared/golden/arc_eval";
  }
  TempDir folder;
  for (std::string name : {"identifiers.json", "test_puzzles.json"}) {
    std::filesystem::create_directories(folder / "arc/test");
    std::filesystem::copy_file(golden("arc_eval/eval_a." + name), folder / "arc" / name);
  }
  // The tokens themselves stand in the file of answers; the folder only has to be a data set.
  test::write_made({.examples = {{1}}, .seq_len = 900, .vocab = 12}, folder / "arc", "test");
  auto all = load_checkpoint(golden("arc_eval/eval_a.safetensors"));
  std::vector<std::string> words{
      "eval",   "--data",          folder / "arc", "--submission", folder / "s.json",
      "--json", folder / "r.json", "--preds"};
  for (std::string round : {"round0", "round1"}) {
    NamedArrays part;
    for (auto& [name, array] : all.tensors) {
      if (name.starts_with(round + ".")) part.emplace_back(name.substr(7), array);
    }
    save_npz(folder / (round + ".npz"), part);
    words.push_back(folder / (round + ".npz"));
  }
  auto outcome = run_program(words);
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  auto record = json::parse(read_file(golden("arc_eval/eval_a.json")))["results"];
  auto pooled = json::parse(read_file(folder / "r.json"))["arc_pooled"]["pass_at"];
  for (auto& [key, value] :
       record["aggregated_voting_true.default.after_round1"]["metrics"].items()) {
    EXPECT_DOUBLE_EQ(pooled[key.substr(4)], value) << key;
  }
  auto expected =
      golden("arc_eval/eval_a.aggregated_voting_true.default.after_round1.submission.json");
  EXPECT_EQ(read_file(folder / "s.json"), read_file(expected));
  auto second =
      golden("arc_eval/eval_a.aggregated_voting_false.default.after_round1.submission.json");
  EXPECT_EQ(read_file(folder / "s_round1.json"), read_file(second));
}

}  // namespace
}  // namespace trm
