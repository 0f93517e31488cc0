// A tiny data set and a tiny run, for tests of training as a whole.
#pragma once

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "trm/checkpoint/checkpoint.h"
#include "trm/data/sudoku_dataset.h"

namespace trm::testing_run {

namespace fs = std::filesystem;

/// A folder of its own for each test, with data/ inside: 4x4 Sudoku, 40 training and 10 test
/// puzzles.
class RunTest : public testing::Test {
 public:
  static std::string read(const fs::path& file) {
    std::ifstream in(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

 protected:
  void SetUp() override {
    auto* info = testing::UnitTest::GetInstance()->current_test_info();
    folder_ =
        fs::temp_directory_path() / ("trm_run_" + std::to_string(getpid()) + "_" + info->name());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    auto puzzles = generate_sudokus(4, 40, 10, 1);
    write_sudoku_dataset(folder_ / "data", puzzles.train, puzzles.test, {});
  }
  void TearDown() override { fs::remove_all(folder_); }

  /// The configuration of a run of 20 steps, evaluated at steps 10 and 20; a step takes
  /// milliseconds.
  std::vector<std::string> words(const std::string& run_name,
                                 std::vector<std::string> more = {}) const {
    std::vector<std::string> out = {"data_paths=[" + (folder_ / "data").string() + "]",
                                    "evaluators=[]",
                                    "epochs=4",
                                    "eval_interval=2",
                                    "global_batch_size=8",
                                    "lr=1e-3",
                                    "lr_warmup_steps=4",
                                    "puzzle_emb_lr=1e-3",
                                    "ema=True",
                                    "ema_rate=0.9",
                                    "arch.hidden_size=16",
                                    "arch.num_heads=2",
                                    "arch.L_layers=1",
                                    "arch.H_cycles=2",
                                    "arch.L_cycles=1",
                                    "arch.puzzle_emb_len=1",
                                    "arch.halt_max_steps=3",
                                    "arch.forward_dtype=float32",
                                    "project_name=p",
                                    "+run_name=" + run_name};
    out.insert(out.end(), more.begin(), more.end());
    return out;
  }
  fs::path run_folder(const std::string& name) const {
    return folder_ / "checkpoints" / "p" / name;
  }

  struct Outcome {
    int status = 0;  // exit code, or 128 + signal
    std::string out, err;
  };
  /// Starts `trm COMMAND words…` in folder_, output in files beside it; `setup` runs in the child.
  pid_t start(const std::vector<std::string>& words, void (*setup)() = nullptr,
              const std::vector<std::pair<std::string, std::string>>& environment = {},
              const std::string& output = "", const std::string& command = "pretrain") const {
    std::vector<std::string> args = {TRM_PROGRAM, command};
    args.insert(args.end(), words.begin(), words.end());
    return start_program(std::move(args), setup, environment, output);
  }
  /// The same of any program in PATH.
  pid_t start_program(std::vector<std::string> args, void (*setup)() = nullptr,
                      const std::vector<std::pair<std::string, std::string>>& environment = {},
                      const std::string& output = "") const {
    std::vector<char*> argv;
    for (auto& a : args) argv.push_back(a.data());
    argv.push_back(nullptr);
    std::string out = folder_ / ("out" + output), err = folder_ / ("err" + output);
    pid_t pid = fork();
    if (pid == 0) {
      if (chdir(folder_.c_str()) != 0 || !freopen(out.c_str(), "w", stdout) ||
          !freopen(err.c_str(), "w", stderr)) {
        _exit(99);
      }
      setenv("OPENBLAS_NUM_THREADS", "1", 1);
      for (auto& [name, value] : environment) setenv(name.c_str(), value.c_str(), 1);
      if (setup) setup();
      execvp(argv[0], argv.data());
      _exit(98);
    }
    return pid;
  }
  Outcome finish(pid_t pid, const std::string& output = "") const {
    int status = 0;
    waitpid(pid, &status, 0);
    return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
            read(folder_ / ("out" + output)), read(folder_ / ("err" + output))};
  }
  Outcome run(const std::vector<std::string>& words, void (*setup)() = nullptr) const {
    return finish(start(words, setup));
  }

  /// Waits, for half a minute at most, until `pid` catches ("SigCgt") or ignores ("SigIgn")
  /// `signal`.
  static void wait_for_signals(pid_t pid, const std::string& field, int signal) {
    auto file = "/proc/" + std::to_string(pid) + "/status";
    if (!fs::exists("/proc/self/status")) sleep(3);  // not Linux
    for (int i = 0; fs::exists(file) && i < 30000; ++i, usleep(1000)) {
      auto status = read(file);
      auto at = status.find(field + ":");
      if (at == std::string::npos) return;
      if (std::stoull(status.substr(at + field.size() + 1), nullptr, 16) >> (signal - 1) & 1)
        return;
    }
  }

  /// "" if both checkpoints hold the same names with bitwise equal arrays, else what differs.
  static std::string difference(const fs::path& a, const fs::path& b) {
    if (!fs::exists(a) || !fs::exists(b)) return "missing file";
    auto left = load_checkpoint(a), right = load_checkpoint(b);
    if (left.tensors.size() != right.tensors.size()) return "number of arrays";
    for (auto& [name, array] : left.tensors) {
      auto* other = right.find(name);
      if (!other || other->shape() != array.shape() || other->dtype() != array.dtype()) return name;
      auto bits = [](const mx::array& x) { return mx::view(mx::flatten(x), mx::uint8); };
      if (array.size() && !mx::array_equal(bits(array), bits(*other)).item<bool>()) return name;
    }
    return "";
  }

  fs::path folder_;
};

}  // namespace trm::testing_run
