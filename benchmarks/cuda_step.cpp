// Time and memory of a whole training step (forward, backward, optimizers, EMA) or of evaluation,
// on random data: cuda_step sudoku_mlp|sudoku_attention|maze [train|eval|profile] [batch] [steps]
// With MLX_RANK, MLX_WORLD_SIZE, NCCL_HOST_IP and NCCL_PORT set it is one of several processes, a
// GPU each, that train together; the batch is each one's own. profile: training, time by kernel.
#include <algorithm>
#include <chrono>
#include <string>

#include <cuda_runtime.h>
#include <fmt/format.h>

#include "benchmarks/cuda_profile.h"
#include "trm/ops/cuda/device.h"
#include "trm/train/ranks.h"
#include "trm/train/train_step.h"

namespace {

namespace mx = trm::mx;
using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

trm::Examples random_examples(int batch, const trm::DataShape& shape, uint64_t seed) {
  auto tokens = [&](uint64_t s) {
    return mx::astype(mx::random::randint(mx::array(1), mx::array(shape.vocab_size),
                                          {batch, shape.seq_len}, mx::int32, mx::random::key(s)),
                      mx::int32);
  };
  trm::Examples e{tokens(seed), tokens(seed + 1), mx::zeros({batch}, mx::int32)};
  mx::eval({e.inputs, e.labels, e.puzzle_identifiers});
  return e;
}

double gigabytes_used() {
  size_t free = 0, total = 0;
  if (cudaMemGetInfo(&free, &total) != cudaSuccess) return 0;
  return static_cast<double>(total - free) / 1e9;
}

}  // namespace

int main(int argc, char** argv) {
  auto begin = Clock::now();
  std::string work = argc > 1 ? argv[1] : "sudoku_mlp", mode = argc > 2 ? argv[2] : "train";
  bool sudoku = work != "maze";
  int batch = argc > 3 ? std::stoi(argv[3]) : sudoku ? 768 : 192;
  int steps = argc > 4 ? std::stoi(argv[4]) : 30;
  if (mode == "profile") profile::start();
  mx::set_default_device(mx::Device::gpu);
  auto ranks = trm::Ranks::join();

  trm::ArchConfig config;
  config.L_cycles = sudoku ? 6 : 4;
  if (work == "sudoku_mlp") config.mlp_t = true, config.pos_encodings = trm::PosEncoding::none;
  trm::DataShape shape{sudoku ? 81 : 900, sudoku ? 11 : 6, 1};
  auto batches = std::vector{random_examples(batch, shape, 1), random_examples(batch, shape, 3)};
  auto state = trm::make_train_state(trm::make_model(config, shape, mx::random::key(0)), batches[0],
                                     mx::random::key(1), true);
  trm::Hyperparameters h;
  h.global_batch_size = batch * ranks.size();
  h.first_row = batch * ranks.rank();
  h.total_steps = 65104;
  mx::eval(trm::state_arrays(state));

  std::vector<double> times;
  double first = 0, peak = 0, issued = 0;
  mx::array loss(0.0f);
  for (int i = 0; i < steps + 3; ++i) {
    if (i == 3 && mode == "profile") profile::clear();
    auto start = Clock::now();
    auto& fresh = batches[static_cast<size_t>(i % 2)];
    if (mode == "eval") {
      auto result = trm::evaluate_step(state.model, state.carry, fresh);
      state.carry = result.carry;
      loss = result.loss;
      auto out = state.carry.z;
      out.push_back(result.metrics);
      mx::async_eval(out);
    } else {
      auto g = trm::begin_train_step(state, fresh, h);
      auto identifiers = state.carry.current.puzzle_identifiers;
      g.weights = ranks.sum(g.weights);
      if (g.puzzle_rows) {
        g.puzzle_rows = ranks.gather(*g.puzzle_rows);
        identifiers = ranks.gather(identifiers);
      }
      trm::finish_train_step(state, g.weights, g.puzzle_rows, identifiers, h);
      loss = g.step.loss;
      mx::async_eval(trm::state_arrays(state));
    }
    double before_wait = ms_since(start);
    mx::synchronize();
    peak = std::max(peak, gigabytes_used());
    if (i == 0) first = ms_since(begin);
    if (i >= 3) times.push_back(ms_since(start)), issued += before_wait;
  }
  double last = loss.item<float>() / static_cast<float>(batch);
  std::sort(times.begin(), times.end());
  double median = times[times.size() / 2];
  if (!ranks.first()) return 0;
  fmt::print(
      "{:<17} {} batch {} x {} median {:.2f} ms ({:.0f} samples/s; least {:.2f}, most {:.2f}, {} "
      "steps; issued in {:.1f} ms), {:.1f} GB, {:.1f} s to the end of the first step, loss "
      "{:.4f}\n",
      work, mode, batch, ranks.size(), median, batch * ranks.size() / median * 1e3, times.front(),
      times.back(), times.size(), issued / static_cast<double>(times.size()), peak, first / 1e3,
      last);
  auto pool = trm::ops::cuda::pool_counts();
  auto gb = [](size_t bytes) { return static_cast<double>(bytes) / 1e9; };
  fmt::print(
      "  memory: ours {:.2f} GB, most used {:.2f}; MLX peak {:.2f}, cached {:.2f}; outputs over "
      "their input {}, refused {}; waits {}\n",
      gb(pool.bytes), gb(pool.most_used), gb(mx::get_peak_memory()), gb(mx::get_cache_memory()),
      pool.over, pool.refused, pool.waits);
  if (mode == "profile") profile::print(static_cast<int>(times.size()));
}
