// Several processes of this machine over MLX's ring backend.
#include <csignal>
#include <cstdlib>

#include <dlfcn.h>
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

// Each process evaluates its slice of every batch; the file holds the test set in its order.
TEST_F(Distributed, SavedOutputsAreThoseOfOneProcess) {
  std::vector<std::string> more = {
      "eval_save_outputs=[inputs,labels,puzzle_identifiers,preds,q_halt_logits]",
      "puzzle_emb_lr=1e-6"};
  ASSERT_EQ(run(words("one", more)).status, 0);
  auto one = load_checkpoint(run_folder("one") / "step_20_preds.npz");
  for (int n : {2, 4}) {  // 10 puzzles in batches of 8: the last batch has rows for some only
    SCOPED_TRACE(n);
    std::string name = "ring" + std::to_string(n);
    run_ring(n, words(name, more));
    auto file = run_folder(name) / "step_20_preds.npz";
    auto ring = load_checkpoint(file);
    ASSERT_EQ(ring.tensors.size(), 5u);
    for (auto& [key, array] : one.tensors) {
      ASSERT_EQ(ring.find(key)->shape(), array.shape()) << key;
      auto off = mx::max(mx::abs(mx::astype(array - *ring.find(key), mx::float32)));
      EXPECT_LE(off.item<float>(), key == "q_halt_logits" ? 1e-4f : 0.0f) << key;
    }
    // Read back, the answers score what the run logged.
    auto scored =
        finish(start({"--preds", file.string(), "--json", "scores.json"}, nullptr, {}, "", "eval"));
    ASSERT_EQ(scored.status, 0) << scored.err;
    auto scores = nlohmann::json::parse(read(folder_ / "scores.json"));
    auto logged = read_metrics(run_folder(name) / "metrics.jsonl").back();
    EXPECT_EQ(scores["count"], 10);
    EXPECT_NEAR(scores["accuracy"], *logged.find("eval/accuracy"), 1e-5);
    EXPECT_NEAR(scores["q_halt_accuracy"], *logged.find("eval/q_halt_accuracy"), 1e-5);
  }
}

// The same over MPI, where there is one that MLX can load.
TEST_F(Distributed, ProcessesOfMpiGiveTheWeightsOfOne) {
  if (std::system("command -v mpirun >/dev/null 2>&1") != 0) GTEST_SKIP() << "no mpirun here";
  void* library = dlopen("libmpi.so", RTLD_LAZY | RTLD_LOCAL);
  if (!library) GTEST_SKIP() << "no libmpi.so here (Debian: libopenmpi-dev), which MLX loads";
  ASSERT_EQ(run(ring_words("one")).status, 0);
  auto expected = run_folder("one") / "step_20.npz";
  for (auto n : {"2", "4"}) {
    SCOPED_TRACE(n);
    std::string name = std::string("mpi") + n;
    std::vector<std::string> args = {"mpirun", "-np", n, TRM_PROGRAM, "pretrain"};
    for (auto& word : ring_words(name)) args.push_back(word);
    // More processes than cores, and root in a container: Open MPI wants both said.
    auto result =
        finish(start_program(args, nullptr,
                             {{"ASAN_OPTIONS", "detect_leaks=0"},  // Open MPI has some
                              {"OMPI_ALLOW_RUN_AS_ROOT", "1"},
                              {"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"},
                              {"OMPI_MCA_rmaps_base_oversubscribe", "1"},
                              {"PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe"}}));
    ASSERT_EQ(result.status, 0) << result.err;
    EXPECT_THAT(result.out, HasSubstr(std::string("over ") + n + " processes"));
    EXPECT_LE(distance(expected, run_folder(name) / "step_20.npz"), 1e-5);
  }
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
