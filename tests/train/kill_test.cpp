// kill -9 at random moments of a run, also while a checkpoint is written.
#include <csignal>
#include <random>

#include "tests/train/run_test_util.h"
#include "trm/train/metrics_log.h"

namespace trm {
namespace {

using testing_run::RunTest;
namespace fs = std::filesystem;

class Kill : public RunTest {};

TEST_F(Kill, ThirtyKillsLoseNothingBeforeTheLastCheckpoint) {
  // 60 steps; a checkpoint at each, so that most of the time is spent writing them.
  std::vector<std::string> more = {"epochs=12", "eval_interval=4", "checkpoint_every_steps=1"};
  ASSERT_EQ(run(words("whole", more)).status, 0);
  auto whole = read_metrics(run_folder("whole") / "metrics.jsonl");

  std::mt19937 random(7);
  auto folder = run_folder("killed");
  int kills = 0, finished = 0;
  int64_t last_state = 0;
  bool started = false;
  for (int i = 0; kills < 30; ++i) {
    ASSERT_LT(i, 300);
    auto what =
        started ? std::vector<std::string>{"resume=" + folder.string()} : words("killed", more);
    pid_t pid = start(what);
    // Start-up takes most of the first 0.2 s on an idle machine; the range covers all of a run.
    usleep(30000 + static_cast<useconds_t>(random() % 500000));
    kill(pid, SIGKILL);
    int status = 0;
    waitpid(pid, &status, 0);
    if (WIFSIGNALED(status)) {
      ++kills;
    } else {
      ASSERT_EQ(WEXITSTATUS(status), 0) << read(folder_ / "err");
      ++finished;
    }
    // Every file under its own name is whole, and no checkpoint was lost.
    int64_t newest = 0;
    if (fs::exists(folder)) {
      for (auto& entry : fs::directory_iterator(folder)) {
        auto name = entry.path().filename().string();
        if (!name.ends_with(".npz")) continue;
        Arrays all;
        for (auto& [key, array] : load_checkpoint(entry.path()).tensors) all.push_back(array);
        ASSERT_NO_THROW(mx::eval(all)) << name;
        if (name.starts_with("state_"))
          newest = std::max<int64_t>(newest, std::stoll(name.substr(6)));
      }
      if (fs::exists(folder / "metrics.jsonl")) {
        auto text = read(folder / "metrics.jsonl");
        ASSERT_TRUE(text.empty() || text.back() == '\n');
        ASSERT_NO_THROW(read_metrics(folder / "metrics.jsonl"));
      }
    }
    ASSERT_GE(newest, last_state);
    last_state = newest;
    started = newest > 0;
    if (!started) fs::remove_all(folder);
    if (newest == 60) {  // done: once more from the start
      ASSERT_EQ(run({"resume=" + folder.string()}).status, 0) << read(folder_ / "err");
      ASSERT_EQ(difference(run_folder("whole") / "step_60.npz", folder / "step_60.npz"), "");
      fs::remove_all(folder);
      started = false;
      last_state = 0;
    }
  }
  if (started) {
    auto end = run({"resume=" + folder.string()});
    ASSERT_EQ(end.status, 0) << end.err;
    EXPECT_EQ(difference(run_folder("whole") / "step_60.npz", folder / "step_60.npz"), "");
    auto lines = read_metrics(folder / "metrics.jsonl");
    ASSERT_EQ(lines.size(), whole.size());
    for (size_t i = 0; i < lines.size(); ++i) {
      EXPECT_EQ(lines[i].step, whole[i].step);
      EXPECT_EQ(lines[i].find("train/loss"), whole[i].find("train/loss"));
    }
  }
  for (auto& entry : fs::directory_iterator(run_folder("whole"))) {
    EXPECT_EQ(entry.path().string().find(".tmp-"), std::string::npos);
  }
  RecordProperty("finished_before_the_kill", finished);
}

}  // namespace
}  // namespace trm
