// Several processes of this machine over MLX's ring backend.
#include <csignal>

#include <gmock/gmock.h>

#include "tests/train/ring_test_util.h"
#include "trm/io/atomic_file.h"
#include "trm/train/metrics_log.h"

namespace trm {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

class Distributed : public testing_run::RingTest {
 protected:
  /// Exploration at every other row; the embedding's rate is small because sign-SGD turns the
  /// rounding of a gradient near zero into a whole step.
  std::vector<std::string> ring_words(const std::string& name) const {
    return words(name, {"arch.halt_exploration_prob=0.5", "puzzle_emb_lr=1e-6",
                        "checkpoint_every_steps=10"});
  }
  static double distance(const fs::path& a, const fs::path& b) {
    auto left = load_checkpoint(a), right = load_checkpoint(b);
    double most = left.tensors.size() == right.tensors.size() ? 0 : 1e9;
    for (auto& [name, array] : left.tensors) {
      auto off = mx::max(mx::abs(array - *right.find(name)));
      most = std::max(most, static_cast<double>(off.item<float>()));
    }
    return most;
  }
};

TEST_F(Distributed, ProcessesGiveTheWeightsOfOne) {
  ASSERT_EQ(run(ring_words("one")).status, 0);
  auto expected = run_folder("one") / "step_20.npz";
  auto lines = read_metrics(run_folder("one") / "metrics.jsonl");
  for (int n : {2, 4}) {
    SCOPED_TRACE(n);
    std::string name = "ring" + std::to_string(n);
    run_ring(n, ring_words(name));
    EXPECT_LE(distance(expected, run_folder(name) / "step_20.npz"), 1e-5);
    auto others = read_metrics(run_folder(name) / "metrics.jsonl");
    ASSERT_EQ(others.size(), lines.size());
    for (size_t i = 0; i < lines.size(); ++i) {
      for (auto metric :
           {"train/loss", "train/count", "train/steps", "eval/count", "eval/accuracy"}) {
        EXPECT_NEAR(lines[i].find(metric).value_or(-1), others[i].find(metric).value_or(-1), 1e-4)
            << metric << ", line " << i;
      }
    }
    // The bound is not met by chance: a run without the other processes' rows is far away.
    EXPECT_GT(distance(run_folder("one") / "step_10.npz", expected), 1e-4);
  }
}

TEST_F(Distributed, GoesOnWithAnotherNumberOfProcesses) {
  ASSERT_EQ(run(ring_words("one")).status, 0);
  auto half = ring_words("half");
  half.push_back("max_steps=7");
  run_ring(4, half);
  run_ring(2, {"resume=" + run_folder("half").string(), "max_steps=13"});
  ASSERT_EQ(run({"resume=" + run_folder("half").string(), "max_steps=null"}).status, 0);
  EXPECT_LE(distance(run_folder("one") / "step_20.npz", run_folder("half") / "step_20.npz"), 1e-5);
}

TEST_F(Distributed, ALostProcessEndsTheOthersByName) {
  for (int victim : {2, 0}) {
    std::string name = "lost" + std::to_string(victim);
    auto long_run = words(name, {"epochs=400000", "eval_interval=400000"});
    auto pids = start_ring(4, long_run);
    auto log = run_folder(name) / "metrics.jsonl";
    while (!fs::exists(log) || fs::file_size(log) < 2000) usleep(5000);
    kill(pids[static_cast<size_t>(victim)], SIGKILL);
    for (int i = 0; i < 4; ++i) {
      auto result = finish(pids[static_cast<size_t>(i)], std::to_string(i));
      if (i == victim) continue;
      EXPECT_EQ(result.status, 1) << "rank " << i;
      EXPECT_THAT(result.err, HasSubstr("rank " + std::to_string(victim) + " is gone"));
    }
  }
}

TEST_F(Distributed, ASignalToOneStopsAllWithACheckpoint) {
  auto pids = start_ring(2, words("s", {"epochs=400000", "eval_interval=400000"}));
  auto log = run_folder("s") / "metrics.jsonl";
  while (!fs::exists(log) || fs::file_size(log) < 2000) usleep(5000);
  kill(pids[1], SIGTERM);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(finish(pids[static_cast<size_t>(i)], std::to_string(i)).status, 0);
  }
  auto last = read_metrics(log).back().step;
  EXPECT_TRUE(fs::exists(run_folder("s") / ("state_" + std::to_string(last) + ".npz")));
}

TEST_F(Distributed, TheBatchHasToDivide) {
  auto pids = start_ring(3, words("d"));
  std::string errors;
  for (int i = 0; i < 3; ++i) {
    auto result = finish(pids[static_cast<size_t>(i)], std::to_string(i));
    EXPECT_EQ(result.status, 1);
    errors += result.err;
  }
  EXPECT_THAT(errors, HasSubstr("no multiple of the 3 processes"));
}

}  // namespace
}  // namespace trm
