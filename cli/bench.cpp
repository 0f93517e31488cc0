// trm bench: the time of whole steps of a chosen model on this machine, against what it can do.
#include <algorithm>
#include <chrono>
#include <fstream>
#include <memory>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <sys/resource.h>

#include "cli/commands.h"
#include "trm/ops/bound.h"
#include "trm/ops/cpu/threads.h"
#include "trm/train/train_step.h"

namespace trm::cli {

namespace {

struct Options {
  std::string task = "sudoku", mode = "train", dtype = "bfloat16";
  int batch_size = 16, steps = 5, threads = 0;
  bool json = false;
};

struct Task {
  ArchConfig arch;
  DataShape shape;
};

Task task_of(const Options& o) {
  Task t;
  t.arch.forward_dtype = o.dtype;
  if (o.task == "sudoku" || o.task == "sudoku-attention") {
    t.shape = {81, 11, 1};
    if (o.task == "sudoku") {
      t.arch.mlp_t = true;
      t.arch.pos_encodings = PosEncoding::none;
    }
  } else {
    t.arch.L_cycles = 4;
    t.shape = o.task == "maze" ? DataShape{900, 6, 1} : DataShape{900, 12, 1000};
  }
  return t;
}

// Floating-point operations of the matrix products of one call of the network on one example.
double flop_of_network(const Model& model) {
  const auto& c = model.config;
  double L = model.tokens(), D = c.hidden_size;
  double flop = 6 * L * D * swiglu_inner(c.hidden_size, c.expansion);
  if (c.mlp_t) {
    flop += 6 * L * D * swiglu_inner(model.tokens(), c.expansion);
  } else {
    int width = c.hidden_size / c.num_heads * c.num_heads;
    flop += 8 * L * D * width + 4 * L * L * width;
  }
  return c.L_layers * flop;
}

// A training step counts a gradient as two forward passes; recomputation is not counted.
double flop_of_step(const Model& model, const Options& o) {
  const auto& c = model.config;
  double calls = c.L_cycles + 1;
  double cycles = o.mode == "train" ? c.H_cycles - 1 + 3 : c.H_cycles;
  return flop_of_network(model) * calls * cycles * o.batch_size;
}

Examples random_examples(const DataShape& shape, int batch_size) {
  auto draw = [&](int seed) {
    return mx::random::randint(1, shape.vocab_size, {batch_size, shape.seq_len}, mx::int32,
                               mx::random::key(seed));
  };
  return {draw(1), draw(2), mx::zeros({batch_size}, mx::int32)};
}

double peak_memory() {  // bytes
  if (mx::default_device() != mx::Device::cpu) return static_cast<double>(mx::get_peak_memory());
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
#ifdef __APPLE__
  return static_cast<double>(usage.ru_maxrss);
#else
  return static_cast<double>(usage.ru_maxrss) * 1024;
#endif
}

struct Times {
  std::vector<double> seconds, cpu_seconds;
};

double cpu_now() {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

Times time_steps(const Options& o, const Model& model) {
  auto examples = random_examples(model.shape, o.batch_size);
  Hyperparameters h;
  h.global_batch_size = o.batch_size;
  auto state = make_train_state(model, examples, mx::random::key(0), true);
  Times times;
  for (int i = 0; i <= o.steps; ++i) {
    auto start = std::chrono::steady_clock::now();
    double cpu = cpu_now();
    if (o.mode == "train") {
      auto g = begin_train_step(state, examples, h);
      finish_train_step(state, g.weights, g.puzzle_rows, g.step.carry.current.puzzle_identifiers,
                        h);
      auto all = state_arrays(state);
      all.push_back(g.step.metrics);
      g.weights.clear();
      mx::eval(all);
    } else {
      auto step = evaluate_step(model, initial_carry(model, examples), examples);
      mx::eval({step.preds, step.metrics, step.carry.z[0], step.carry.z[1]});
    }
    // The first step also starts threads and fills caches.
    if (i > 0) {
      times.seconds.push_back(
          std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
      times.cpu_seconds.push_back(cpu_now() - cpu);
    }
  }
  return times;
}

void run(const Options& o) {
  if (o.threads > 0) ops::set_threads(o.threads);
  auto task = task_of(o);
  auto model = make_model(task.arch, task.shape, mx::random::key(0));
  auto times = time_steps(o, model);
  double memory = peak_memory();
  auto sorted = times.seconds;
  std::sort(sorted.begin(), sorted.end());
  double median = sorted[sorted.size() / 2], flop = flop_of_step(model, o);
  double bound = ops::matmul_rate(dtype_of(o.dtype));
  if (o.json) {
    nlohmann::json out = {{"task", o.task},
                          {"mode", o.mode},
                          {"dtype", o.dtype},
                          {"batch_size", o.batch_size},
                          {"threads", ops::threads()},
                          {"seconds", times.seconds},
                          {"cpu_seconds", times.cpu_seconds},
                          {"median", median},
                          {"flop", flop},
                          {"matmul_rate", bound},
                          {"share", flop / median / bound},
                          {"peak_memory", memory}};
    fmt::print("{}\n", out.dump());
    return;
  }
  fmt::print("{} {}, {}, batch {}, {} threads\n", o.task, o.mode, o.dtype, o.batch_size,
             ops::threads());
  fmt::print("  step          {:.4g} s (median of {}, {:.4g} to {:.4g})\n", median, o.steps,
             sorted.front(), sorted.back());
  fmt::print("  rate          {:.1f} GFLOP/s of {:.1f} measured for matrix products: {:.0f} %\n",
             flop / median / 1e9, bound / 1e9, 100 * flop / median / bound);
  fmt::print("  peak memory   {:.0f} MB\n", memory / 1e6);
}

}  // namespace

void add_bench(CLI::App& app) {
  auto o = std::make_shared<Options>();
  auto* c = app.add_subcommand("bench", "Time training or evaluation steps on this machine");
  c->add_option("--task", o->task, "The published recipes' models")
      ->check(CLI::IsMember({"sudoku", "sudoku-attention", "maze", "arc"}))
      ->capture_default_str();
  c->add_option("--mode", o->mode, "A training step, or one step of evaluation")
      ->check(CLI::IsMember({"train", "eval"}))
      ->capture_default_str();
  c->add_option("--dtype", o->dtype, "Dtype of the activations")
      ->check(CLI::IsMember({"float32", "bfloat16"}))
      ->capture_default_str();
  c->add_option("--batch-size", o->batch_size)
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  c->add_option("--steps", o->steps, "Steps timed, after one that is not")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  c->add_option("--threads", o->threads, "Threads (default: the machine's)")
      ->check(CLI::Range(1, 4096));
  c->add_flag("--json", o->json, "One line of JSON");
  c->footer(
      "Examples:\n"
      "  trm bench\n"
      "  trm bench --task maze --batch-size 2 --dtype bfloat16 --threads 2\n"
      "  TRM_OPS=reference trm bench --dtype float32   # without the fused operations");
  c->callback([o] { run(*o); });
}

}  // namespace trm::cli
