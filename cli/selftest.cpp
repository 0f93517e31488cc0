// trm selftest: does everything work on this machine? What a user runs first.
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <functional>

#include <dlfcn.h>
#include <fmt/format.h>
#include <unistd.h>

#include "cli/commands.h"
#include "trm/checkpoint/checkpoint.h"
#include "trm/ops/ops.h"
#include "trm/train/train_step.h"

namespace trm::cli {

namespace {

namespace fs = std::filesystem;

constexpr int kRows = 4, kCells = 16, kTokens = 6, kPuzzles = 3;

/// What a check found, for its line; a check that fails throws instead.
using Check = std::function<std::string()>;

[[noreturn]] void wrong(const std::string& what) { throw std::runtime_error(what); }

ArchConfig small(ModelKind kind, const std::string& dtype) {
  ArchConfig c;
  c.kind = kind;
  c.hidden_size = c.puzzle_emb_ndim = 32;
  c.num_heads = 2;
  c.H_layers = c.L_layers = 1;
  c.H_cycles = 2;
  c.L_cycles = kind == ModelKind::trm_hier6 ? 6 : 2;
  c.puzzle_emb_len = 1;
  c.halt_max_steps = 3;
  c.forward_dtype = dtype;
  c.no_ACT_continue = kind != ModelKind::hrm && kind != ModelKind::transformers_baseline;
  return c;
}

Examples examples() {
  auto [k1, k2] = mx::random::split(mx::random::key(3));
  return {mx::random::randint(mx::array(1), mx::array(kTokens), {kRows, kCells}, mx::int32, k1),
          mx::random::randint(mx::array(1), mx::array(kTokens), {kRows, kCells}, mx::int32, k2),
          mx::remainder(mx::arange(kRows), mx::array(kPuzzles))};
}

bool finite(const mx::array& a) { return mx::all(mx::isfinite(a)).item<bool>(); }

/// Forward, loss and gradients of one model, then whether training on one batch lowers its loss.
std::string check_model(ModelKind kind, const std::string& dtype) {
  auto arch = small(kind, dtype);
  Model model = make_model(arch, {kCells, kTokens, kPuzzles}, mx::random::key(1));
  auto batch = examples();
  auto step = evaluate_step(model, initial_carry(model, batch), batch);
  if (step.answer.logits.shape() != mx::Shape{kRows, kCells, kTokens}) wrong("logits' shape");
  if (!finite(step.answer.logits)) wrong("logits that are not finite");

  Hyperparameters h;
  h.global_batch_size = kRows;
  h.lr = 3e-3;
  h.puzzle_emb_lr = 1e-3;
  h.lr_warmup_steps = 0;
  h.total_steps = 1000;
  auto state = make_train_state(model, batch, mx::random::key(2), true);
  float first = 0, last = 0;
  for (int i = 0; i < 25; ++i) {
    auto g = begin_train_step(state, batch, h);
    if (i == 0) {
      float norm = 0;
      auto names = trainable_names(model);
      for (size_t k = 0; k < g.weights.size(); ++k) {
        if (!finite(g.weights[k])) wrong("a gradient that is not finite: " + names[k]);
        norm += mx::sum(mx::square(mx::astype(g.weights[k], mx::float32))).item<float>();
      }
      if (norm == 0) wrong("gradients that are all zero");
    }
    last = g.step.loss.item<float>() / kRows;
    if (i == 0) first = last;
    finish_train_step(state, g.weights, g.puzzle_rows, g.step.carry.current.puzzle_identifiers, h);
    mx::eval(state_arrays(state));
  }
  if (!std::isfinite(last) || last >= first) {
    wrong(fmt::format("a loss that does not fall: {:.4f} -> {:.4f}", first, last));
  }
  return fmt::format("loss {:.3f} -> {:.3f} in 25 steps", first, last);
}

/// The fused operations of this machine against their definition.
std::string check_ops(mx::Dtype dtype, float tolerance) {
  int D = 64, inner = 256;
  auto random = [](mx::Shape shape, uint64_t key, float scale) {
    return mx::random::normal(shape, mx::float32, mx::random::key(key)) * mx::array(scale);
  };
  auto h = mx::astype(random({2, 17, D}, 1, 1), dtype);
  auto up = random({2 * inner, D}, 2, 0.12f), down = random({D, inner}, 3, 0.06f);
  auto qkv = random({3 * D, D}, 4, 0.12f), o = random({D, D}, 5, 0.12f);
  float off = 0;
  auto compare = [&](const mx::array& a, const mx::array& b) {
    auto difference = mx::max(mx::abs(mx::astype(a, mx::float32) - mx::astype(b, mx::float32)));
    off = std::max(off, difference.item<float>());
  };
  compare(ops::feed_forward(h, up, down, 1e-5f), ops::reference::feed_forward(h, up, down, 1e-5f));
  compare(ops::attention(h, qkv, o, 4, nullptr, 1e-5f),
          ops::reference::attention(h, qkv, o, 4, nullptr, 1e-5f));
  if (!(off <= tolerance)) wrong(fmt::format("a difference of {:.2g}", off));
  return fmt::format("largest difference {:.2g}", off);
}

std::string check_round_trip() {
  Model model = make_model(small(ModelKind::trm, "bfloat16"), {kCells, kTokens, kPuzzles},
                           mx::random::key(1));
  auto arrays = named_arrays(model);
  auto folder = fs::temp_directory_path() / fmt::format("trm_selftest_{}", getpid());
  fs::create_directories(folder);
  struct Remove {
    fs::path folder;
    ~Remove() {
      std::error_code ec;
      fs::remove_all(folder, ec);
    }
  } remove{folder};
  save_torch(folder / "a.pt", arrays);
  save_npz(folder / "a.npz", load_checkpoint(folder / "a.pt").tensors);
  save_safetensors(folder / "a.safetensors", load_checkpoint(folder / "a.npz").tensors);
  auto back = load_checkpoint(folder / "a.safetensors");
  if (back.tensors.size() != arrays.size()) wrong("another number of tensors");
  for (auto& [name, array] : arrays) {
    auto* other = back.find(name);
    bool same = other && other->shape() == array.shape() && other->dtype() == array.dtype() &&
                mx::array_equal(*other, array).item<bool>();
    if (!same) wrong("another value of " + name);
  }
  return fmt::format("{} tensors through PyTorch's format, .npz and .safetensors", arrays.size());
}

std::string check_blas() {
  int n = 1024;
  auto a = mx::random::normal({n, n}, mx::float32, mx::random::key(1));
  mx::eval(mx::matmul(a, a));
  auto start = std::chrono::steady_clock::now();
  mx::eval(mx::matmul(a, a));
  double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  using Config = char* (*)();
  auto config = reinterpret_cast<Config>(dlsym(RTLD_DEFAULT, "openblas_get_config"));
  std::string library = config ? config() : "MLX's own BLAS";
  double rate = 2e-9 * n * n * n / seconds;
#ifndef __APPLE__
  if (!config && mx::default_device() == mx::Device::cpu) {
    wrong("OpenBLAS is not linked in: float32 work takes fifty times as long");
  }
#endif
  return fmt::format("{:.0f} GFLOP/s in float32, {}", rate, library);
}

}  // namespace

void add_selftest(CLI::App& app) {
  auto* c = app.add_subcommand("selftest", "Check that everything works on this machine");
  c->footer("\nExamples:\n  trm selftest");
  c->callback([] {
    std::vector<std::pair<std::string, Check>> checks = {
        {"device",
         [] { return std::string(mx::default_device() == mx::Device::gpu ? "GPU" : "CPU"); }},
        {"matrix product", check_blas},
        {"operations float32", [] { return check_ops(mx::float32, 1e-4f); }},
        {"operations bfloat16", [] { return check_ops(mx::bfloat16, 0.1f); }}};
    for (auto kind : {ModelKind::trm, ModelKind::trm_singlez, ModelKind::trm_hier6, ModelKind::hrm,
                      ModelKind::transformers_baseline}) {
      for (std::string dtype : {"float32", "bfloat16"}) {
        checks.emplace_back(fmt::format("{} {}", to_string(kind), dtype),
                            [=] { return check_model(kind, dtype); });
      }
    }
    checks.emplace_back("converter", check_round_trip);
    int failed = 0;
    for (auto& [name, check] : checks) {
      auto start = std::chrono::steady_clock::now();
      std::string found, verdict = "ok";
      try {
        found = check();
      } catch (const std::exception& e) {
        found = e.what();
        verdict = "FAILED";
        ++failed;
      }
      double s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      fmt::print("{:<6} {:<30} {:6.2f} s  {}\n", verdict, name, s, found);
      std::fflush(stdout);
    }
    if (failed) {
      fmt::print("{} of {} checks failed\n", failed, checks.size());
      throw Exit{1};
    }
    fmt::print("All {} checks passed\n", checks.size());
  });
}

}  // namespace trm::cli
