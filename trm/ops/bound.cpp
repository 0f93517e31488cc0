#include "trm/ops/bound.h"

#include <algorithm>
#include <chrono>

#include "trm/ops/cpu/layout.h"

namespace trm::ops {
namespace {

double seconds_of(const std::function<void()>& work) {
  auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double best_rate(double flop, const std::function<void()>& work) {
  double best = 1e30, total = 0;
  while (total < 0.3) {
    double s = seconds_of(work);
    best = std::min(best, s), total += s;
  }
  return flop / best;
}

double cpu_rate(bool bfloat16) {
  cpu::Type t(bfloat16);
  constexpr int rows = 112, words = 128, repeats = 200;
  auto work = [&] {
    cpu::parallel(threads(), [&](long begin, long end) {
      cpu::Scratch scratch;
      float* a = scratch.floats(rows * words);
      float* b = scratch.floats(words * cpu::kPanel);
      float* c = scratch.floats(rows * cpu::kPanel);
      std::fill_n(a, rows * words, 0.0f);
      std::fill_n(b, words * cpu::kPanel, 0.0f);
      for (int i = 0; i < repeats * (end - begin); ++i) {
        t.k.gemm(a, words, 1, rows, b, words, c, cpu::kPanel, cpu::kPanel, false);
      }
    });
  };
  return best_rate(2.0 * rows * words * t.per_word * cpu::kPanel * repeats * threads(), work);
}

}  // namespace

double matmul_rate(mx::Dtype dtype) {
  if (mx::default_device() == mx::Device::cpu) return cpu_rate(dtype == mx::bfloat16);
  constexpr int n = 8192;
  auto a = mx::astype(mx::random::normal({n, n}), dtype);
  mx::eval(a);
  return best_rate(2.0 * n * n * n, [&] { mx::eval(mx::matmul(a, a)); });
}

}  // namespace trm::ops
