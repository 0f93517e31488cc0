// Training through the program: what it writes, how it goes on, what it refuses.
#include <csignal>

#include <gmock/gmock.h>
#include <sys/resource.h>

#include "tests/train/run_test_util.h"
#include "trm/io/atomic_file.h"
#include "trm/train/config.h"
#include "trm/train/metrics_log.h"

namespace trm {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing_run::RunTest;
namespace fs = std::filesystem;

class Pretrain : public RunTest {};

TEST_F(Pretrain, WritesWhatTheReferenceWrites) {
  auto result = run(words("a"));
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out,
              AllOf(HasSubstr("parameters"), HasSubstr("20 of batch 8"),
                    HasSubstr("Evaluation at step 10"), HasSubstr("Finished at step 20")));
  auto folder = run_folder("a");
  auto checkpoint = load_checkpoint(folder / "step_20.npz");
  EXPECT_NE(checkpoint.find("model.inner.lm_head.weight"), nullptr);
  EXPECT_NE(checkpoint.find("model.inner.puzzle_emb.weights"), nullptr);
  EXPECT_TRUE(fs::exists(folder / "step_10.npz"));
  auto config = load_run_config(folder / "all_config.yaml");
  EXPECT_EQ(config.arch.hidden_size, 16);
  EXPECT_EQ(config.run_name, "a");

  auto lines = read_metrics(folder / "metrics.jsonl");
  ASSERT_EQ(lines.size(), 22u);
  EXPECT_EQ(lines[0].step, 1);
  EXPECT_EQ(lines[0].find("train/lr"), 1e-3 / 4);
  EXPECT_TRUE(lines[0].find("train/lm_loss"));
  EXPECT_EQ(lines[10].step, 10);
  EXPECT_EQ(lines[10].find("eval/count"), 10.0);
  EXPECT_LT(*lines[20].find("train/loss"), *lines[0].find("train/loss"));
}

TEST_F(Pretrain, WithoutEmaTheCheckpointHoldsTheWeightsThemselves) {
  ASSERT_EQ(run(words("plain", {"ema=False", "eval_interval=null"})).status, 0);
  auto weights = load_checkpoint(run_folder("plain") / "step_20.npz");
  auto state = load_checkpoint(run_folder("plain") / "state_20.npz");
  for (auto& [name, array] : weights.tensors) {
    ASSERT_NE(state.find(name), nullptr) << name;
    EXPECT_TRUE(mx::array_equal(array, *state.find(name)).item<bool>()) << name;
  }
}

TEST_F(Pretrain, ResumesToTheSameBits) {
  for (auto dtype : {"float32", "bfloat16"}) {
    SCOPED_TRACE(dtype);
    std::string type = std::string("arch.forward_dtype=") + dtype, whole = "whole_",
                parts = "parts_";
    ASSERT_EQ(run(words(whole + dtype, {type})).status, 0);
    ASSERT_EQ(run(words(parts + dtype, {type, "max_steps=3"})).status, 0);
    auto folder = run_folder(parts + dtype);
    EXPECT_EQ(run({"resume=" + folder.string(), "max_steps=10"}).status, 0);
    EXPECT_EQ(run({"resume=" + folder.string(), "max_steps=13"}).status, 0);
    auto last = run({"resume=" + folder.string(), "max_steps=null"});
    EXPECT_EQ(last.status, 0) << last.err;
    for (auto file : {"step_20.npz", "step_10.npz"}) {
      EXPECT_EQ(difference(run_folder(whole + dtype) / file, folder / file), "") << file;
    }
    // The same lines, but for times.
    auto a = read_metrics(run_folder(whole + dtype) / "metrics.jsonl");
    auto b = read_metrics(folder / "metrics.jsonl");
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); ++i) {
      EXPECT_EQ(a[i].step, b[i].step);
      for (auto name : {"train/loss", "train/count", "eval/accuracy"}) {
        EXPECT_EQ(a[i].find(name), b[i].find(name)) << name << " line " << i;
      }
    }
  }
}

TEST_F(Pretrain, TheBitComparisonNoticesAnotherRun) {
  ASSERT_EQ(run(words("one", {"max_steps=2"})).status, 0);
  ASSERT_EQ(run(words("two", {"max_steps=2", "seed=1"})).status, 0);
  EXPECT_NE(difference(run_folder("one") / "step_2.npz", run_folder("two") / "step_2.npz"), "");
}

TEST_F(Pretrain, ResumesFromAnOlderCheckpoint) {
  ASSERT_EQ(run(words("a", {"checkpoint_every_steps=5"})).status, 0);
  fs::copy(run_folder("a") / "step_20.npz", folder_ / "kept.npz");
  auto again = run({"resume=" + (run_folder("a") / "state_5.npz").string()});
  EXPECT_EQ(again.status, 0) << again.err;
  EXPECT_EQ(difference(run_folder("a") / "step_20.npz", folder_ / "kept.npz"), "");
  EXPECT_EQ(read_metrics(run_folder("a") / "metrics.jsonl").size(), 22u);
}

TEST_F(Pretrain, AFinishedRunHasNothingLeftToDo) {
  ASSERT_EQ(run(words("a")).status, 0);
  auto before = read(run_folder("a") / "metrics.jsonl");
  auto again = run({"resume=" + run_folder("a").string()});
  EXPECT_EQ(again.status, 0) << again.err;
  EXPECT_THAT(again.out, HasSubstr("Finished at step 20"));
  EXPECT_TRUE(read(run_folder("a") / "metrics.jsonl") == before);
}

TEST_F(Pretrain, AChangedValueNeedsTheOverride) {
  ASSERT_EQ(run(words("a", {"max_steps=2"})).status, 0);
  auto resume = "resume=" + run_folder("a").string();
  auto refused = run({resume, "lr=2e-3", "max_steps=4"});
  EXPECT_EQ(refused.status, 1);
  EXPECT_THAT(refused.err,
              AllOf(HasSubstr("lr: 0.001 -> 0.002"), HasSubstr("resume_override=true")));
  EXPECT_EQ(run({resume, "lr=2e-3", "max_steps=4", "resume_override=true"}).status, 0);
  EXPECT_EQ(load_run_config(run_folder("a") / "all_config.yaml").lr, 2e-3);
}

TEST_F(Pretrain, DamagedStatesAreNamedAndTheOlderOneUsed) {
  ASSERT_EQ(run(words("a", {"checkpoint_every_steps=5", "max_steps=10"})).status, 0);
  auto newest = run_folder("a") / "state_10.npz";
  fs::resize_file(newest, fs::file_size(newest) / 2);
  auto named = run({"resume=" + newest.string()});
  EXPECT_EQ(named.status, 1);
  EXPECT_THAT(named.err, HasSubstr("state_10.npz"));
  auto used = run({"resume=" + run_folder("a").string(), "max_steps=null"});
  EXPECT_EQ(used.status, 0) << used.err;
  EXPECT_THAT(used.err, AllOf(HasSubstr("state_10.npz"), HasSubstr("older step 5")));
  ASSERT_EQ(run(words("whole")).status, 0);
  EXPECT_EQ(difference(run_folder("a") / "step_20.npz", run_folder("whole") / "step_20.npz"), "");
  for (auto name : {"state_5.npz", "state_10.npz", "state_15.npz", "state_20.npz"}) {
    write_file_atomically(run_folder("a") / name, "PK\3\4 nothing");
  }
  auto none = run({"resume=" + run_folder("a").string()});
  EXPECT_EQ(none.status, 1);
  EXPECT_THAT(none.err, HasSubstr("state_20.npz"));
}

TEST_F(Pretrain, RefusesWhatCannotBeResumed) {
  EXPECT_THAT(run({"resume=nowhere"}).err, HasSubstr("no such run folder"));
  EXPECT_THAT(run({"resume=data"}).err, HasSubstr("all_config.yaml"));
  ASSERT_EQ(run(words("a", {"max_steps=2"})).status, 0);
  EXPECT_THAT(run({"resume=" + (run_folder("a") / "state_7.npz").string()}).err,
              HasSubstr("no such"));
  EXPECT_THAT(run(words("a")).err, HasSubstr("holds a run already"));
  // The state of another model.
  ASSERT_EQ(run(words("b", {"max_steps=3", "arch.hidden_size=32"})).status, 0);
  fs::copy(run_folder("b") / "state_3.npz", run_folder("a") / "state_3.npz");
  EXPECT_THAT(run({"resume=" + (run_folder("a") / "state_3.npz").string()}).err,
              HasSubstr("another shape"));
}

TEST_F(Pretrain, StopsInGoodOrderOnASignal) {
  for (int signal : {SIGINT, SIGTERM}) {
    std::string name = "s" + std::to_string(signal);
    pid_t pid = start(words(name, {"epochs=400000", "eval_interval=400000"}));
    auto log = run_folder(name) / "metrics.jsonl";
    while (!fs::exists(log) || fs::file_size(log) < 2000) usleep(5000);
    for (int i = 0; i < 2; ++i) kill(pid, signal), usleep(10000);  // twice, as timeout(1) does it
    auto result = finish(pid);
    EXPECT_EQ(result.status, 0) << result.err;
    EXPECT_THAT(result.out, HasSubstr("Stopped by a signal"));
    auto lines = read_metrics(log);
    EXPECT_TRUE(
        fs::exists(run_folder(name) / ("state_" + std::to_string(lines.back().step) + ".npz")));
  }
}

TEST_F(Pretrain, KeepsTheNewestCheckpoints) {
  ASSERT_EQ(run(words("a", {"checkpoint_every_steps=2", "keep_last=3"})).status, 0);
  std::vector<std::string> names;
  for (auto& entry : fs::directory_iterator(run_folder("a"))) {
    if (entry.path().extension() == ".npz") names.push_back(entry.path().filename());
  }
  EXPECT_THAT(names, testing::UnorderedElementsAre("step_16.npz", "state_16.npz", "step_18.npz",
                                                   "state_18.npz", "step_20.npz", "state_20.npz"));
}

TEST_F(Pretrain, StopsAfterItsTime) {
  auto result = run(words("a", {"epochs=400000", "eval_interval=400000", "max_seconds=0.3"}));
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("Stopped after max_seconds"));
}

TEST_F(Pretrain, ALossThatIsNotFiniteEndsTheRun) {
  auto result = run(words("a", {"lr=1e38", "lr_warmup_steps=0", "checkpoint_every_steps=1"}));
  EXPECT_EQ(result.status, 1);
  EXPECT_THAT(result.err, AllOf(HasSubstr("the loss is"), HasSubstr("at step"),
                                HasSubstr("model.inner."), HasSubstr("is kept")));
  EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1);
}

TEST_F(Pretrain, EvaluatesLaterAndLess) {
  auto result =
      run(words("a", {"min_eval_interval=1", "max_eval_examples=3",
                      "eval_save_outputs=[inputs,labels,puzzle_identifiers,preds,q_halt_logits]"}));
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, testing::Not(HasSubstr("Evaluation at step 10")));
  auto outputs = load_checkpoint(run_folder("a") / "step_20_preds.npz");
  EXPECT_EQ(outputs.find("preds")->shape(), (mx::Shape{3, 3, 16}));
  EXPECT_EQ(outputs.find("labels")->shape(), (mx::Shape{3, 16}));
  EXPECT_EQ(outputs.find("q_halt_logits")->shape(), (mx::Shape{3, 3}));
  EXPECT_THAT(run(words("b", {"eval_save_outputs=[pred]"})).err, HasSubstr("preds"));
}

TEST_F(Pretrain, StartsFromACheckpoint) {
  ASSERT_EQ(run(words("a", {"max_steps=2"})).status, 0);
  auto from = run_folder("a") / "step_2.npz";
  // lr 0 and frozen: the weights stay as they were loaded.
  auto result = run(words("b", {"load_checkpoint=" + from.string(), "freeze_weights=True",
                                "puzzle_emb_lr=0", "max_steps=1"}));
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(difference(from, run_folder("b") / "step_1.npz"), "");

  // A puzzle embedding of another size starts from its mean row.
  NamedArrays arrays = load_checkpoint(from).tensors;
  for (auto& [name, a] : arrays) {
    if (name == "model.inner.puzzle_emb.weights") {
      a = mx::concatenate({mx::full({1, 16}, 1.0f), mx::full({3, 16}, 5.0f)}, 0);
    }
  }
  save_npz(folder_ / "other.npz", arrays);
  result = run(words(
      "c", {"load_checkpoint=other.npz", "freeze_weights=True", "puzzle_emb_lr=0", "max_steps=1"}));
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("mean row"));
  auto table =
      *load_checkpoint(run_folder("c") / "step_1.npz").find("model.inner.puzzle_emb.weights");
  EXPECT_TRUE(mx::array_equal(table, mx::full({1, 16}, 4.0f)).item<bool>());

  EXPECT_THAT(run(words("d", {"load_checkpoint=" + from.string(), "arch.L_layers=2"})).err,
              AllOf(HasSubstr("load_checkpoint="), HasSubstr("L_level.layers.1")));
}

TEST_F(Pretrain, RefusesWhatCannotTrain) {
  EXPECT_THAT(run(words("a", {"data_paths=[nowhere]"})).err, HasSubstr("nowhere"));
  EXPECT_THAT(run(words("a", {"global_batch_size=1000"})).err, HasSubstr("no whole batch"));
  EXPECT_THAT(run(words("a", {"arch.num_heads=3"})).err, HasSubstr("even head size"));
  EXPECT_THAT(run(words("a", {"global_batch_size=8000000", "epochs=2000000",
                              "eval_interval=2000000", "arch.hidden_size=4096"}))
                  .err,
              HasSubstr("micro_batch_size"));
  auto folder = folder_ / "file";
  write_file_atomically(folder, "a file where the folder should go");
  EXPECT_THAT(run(words("a", {"checkpoint_path=file/x"})).err,
              HasSubstr("cannot make the run's folder"));
  EXPECT_EQ(run({"--no-such-option"}).status, 2);
}

void limit_file_size() {
  rlimit limit{40 << 10, 40 << 10};
  setrlimit(RLIMIT_FSIZE, &limit);
  signal(SIGXFSZ, SIG_IGN);
}

// A limit of file sizes fails writes as a full disk does, without needing one.
TEST_F(Pretrain, AFullDiskLeavesTheLastCheckpointWhole) {
  ASSERT_EQ(run(words("a", {"max_steps=2"})).status, 0);
  auto before = read(run_folder("a") / "state_2.npz");
  ASSERT_GT(before.size(), size_t{40 << 10});
  auto full = run({"resume=" + run_folder("a").string(), "max_steps=4"}, limit_file_size);
  EXPECT_EQ(full.status, 1);
  EXPECT_THAT(full.err, AllOf(HasSubstr("trm: error:"), HasSubstr("state_4.npz")));
  EXPECT_EQ(read(run_folder("a") / "state_2.npz"), before);
  EXPECT_FALSE(fs::exists(run_folder("a") / "state_4.npz"));
  for (auto& entry : fs::directory_iterator(run_folder("a"))) {
    EXPECT_EQ(entry.path().string().find(".tmp-"), std::string::npos) << entry.path();
  }
  EXPECT_EQ(run({"resume=" + run_folder("a").string(), "max_steps=4"}).status, 0);
}

TEST_F(Pretrain, DryRunPrintsTheConfiguration) {
  auto result = run({"--dry-run", "arch=hrm", "lr=3e-4"});
  EXPECT_EQ(result.status, 0);
  EXPECT_THAT(result.out, AllOf(HasSubstr("lr: 0.0003"), HasSubstr("hrm@Hierarchical")));
  EXPECT_FALSE(fs::exists(folder_ / "checkpoints"));
}

// The reference's documented command line, with its epochs made few and the model small.
TEST_F(Pretrain, RunsTheDocumentedSudokuCommandLine) {
  auto result = run({"arch=trm",
                     "data_paths=[data]",
                     "evaluators=[]",
                     "epochs=5",
                     "eval_interval=5",
                     "lr=1e-4",
                     "puzzle_emb_lr=1e-4",
                     "weight_decay=1.0",
                     "puzzle_emb_weight_decay=1.0",
                     "arch.mlp_t=True",
                     "arch.pos_encodings=none",
                     "arch.L_layers=2",
                     "arch.H_cycles=3",
                     "arch.L_cycles=6",
                     "+run_name=pretrain_mlp_t_sudoku",
                     "ema=True",
                     "global_batch_size=40",
                     "max_steps=2",
                     "arch.hidden_size=32",
                     "arch.num_heads=2"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_TRUE(fs::exists(folder_ / "checkpoints/Data-ACT-mlx/pretrain_mlp_t_sudoku/step_2.npz"));
}

}  // namespace
}  // namespace trm
