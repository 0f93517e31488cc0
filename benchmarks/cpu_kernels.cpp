// Rates of one core in the kernels of trm/ops/cpu, for every table this processor runs, in bfloat16
// at the shapes of a Sudoku training step (97 tokens, 512 channels, inner sizes 1536 and 512).
#include <chrono>
#include <cstdio>
#include <functional>
#include <vector>

#include "trm/ops/cpu/layout.h"

namespace trm::ops::cpu {
namespace {

double seconds(const std::function<void()>& work) {
  using Clock = std::chrono::steady_clock;
  double best = 1e30, total = 0;
  for (int i = 0; i < 3 || total < 0.1; ++i) {
    auto start = Clock::now();
    work();
    double s = std::chrono::duration<double>(Clock::now() - start).count();
    best = std::min(best, s), total += s;
  }
  return best;
}

void measure(const Kernels& k) {
  Scratch scratch;
  auto words = [&](long n) {
    float* p = scratch.floats(n);
    std::fill_n(p, n, 0.0f);
    return p;
  };
  Word *a = words(224 * 1600), *panels = words(96L * 256 * kPanel), *other = words(97 * 1600);
  float *c = words(224 * 512), *s = words(224 * 512);
  auto products = [&](const char* what, int rows, long k_words, long stride, int count) {
    double t = seconds([&] {
      for (int j = 0; j < count; ++j) {
        k.gemm(a, stride, 1, rows, panels + j * k_words * kPanel, k_words, c, kPanel, kPanel,
               false);
      }
    });
    std::printf("%-12s %-40s %7.0f GFLOP/s\n", k.name, what,
                4.0 * rows * k_words * kPanel * count / t / 1e9);
  };
  auto elements = [&](const char* what, long n, const std::function<void()>& work) {
    double t = seconds([&] {
      for (int i = 0; i < 100; ++i) work();
    });
    std::printf("%-12s %-40s %7.3f ns/element\n", k.name, what, t / 100 / n * 1e9);
  };
  products("gates, 97 x 256 words, 96 panels", 97, 256, 256, 96);
  products("gates, 194 x 256 words, 96 panels", 194, 256, 256, 96);
  products("down, 97 x 768 words, 16 panels", 97, 768, 768, 16);
  products("down, 194 x 768 words, 16 panels", 194, 768, 768, 16);
  products("gates' gradient, 194 x 1536 words, 16", 194, 1536, 1536, 16);
  products("one panel, 224 x 128 words", 224, 128, 128, 1);
  products("tokens' gates, 64 x 49 words, 1 panel", 64, 49, 49, 1);
  products("the same, 64 x 48 words", 64, 48, 49, 1);
  products("tokens' down, 97 x 256 words, 1 panel", 97, 256, 256, 1);
  products("attention, 97 x 32 words, 4 panels", 97, 32, 768, 4);
  const Type type(true, k);
  const int before = threads();
  set_threads(1);
  float* sums = words(96L * 16 * kPanel * kPanel);
  Word *left = words(16L * 776 * kPanel), *right = words(96L * 776 * kPanel);
  double t = seconds([&] { panel_products(type, left, 16, right, 96, 776, sums, true); });
  set_threads(before);
  std::printf("%-12s %-40s %7.0f GFLOP/s\n", k.name, "weights' gradient, 16 x 96 panels, 776",
              4.0 * 16 * 96 * kPanel * kPanel * 776 / t / 1e9);
  elements("gate_columns", 97 * 16, [&] { k.gate_columns(c, 97, other, 1536); });
  elements("gate_rows", 64 * 32, [&] { k.gate_rows(c, c + 64 * kPanel, 64, other); });
  elements("gate_columns_backward", 96 * 16,
           [&] { k.gate_columns_backward(c, s, 96, other, 1536, a, a + 96 * kPanel); });
  elements("gate_rows_backward", 64 * 32, [&] {
    k.gate_rows_backward(c, s, s + 64 * kPanel, 64, a, a + 4096, other, other + 16, other + 32,
                         512);
  });
  elements("add_residual", 97 * 32, [&] { k.add_residual(c, other, 512, 97, 32, s, 512); });
  elements("norm_rows", 97 * 512, [&] { k.norm_rows(s, 512, 97, 512, 1e-5f, other, 512, c); });
  std::vector<const void*> rows(96, other);
  elements("pack_columns", 96 * 32, [&] { k.pack_columns(rows.data(), 96, 0, 32, a); });
  elements("pack_rows", 256 * 32, [&] { k.pack_rows(rows.data(), 256, a); });
  if (k.turn) elements("turn", 128 * 32, [&] { k.turn(panels, 128, a, turned_stride(128)); });
  if (k.release) {
    double with = seconds([&] {
      for (int i = 0; i < 1000; ++i) k.gemm(a, 16, 1, 16, panels, 16, c, 32, 16, false);
    });
    double alone = seconds([&] {
      for (int i = 0; i < 1000; ++i) {
        k.gemm(a, 16, 1, 16, panels, 16, c, 32, 16, false);
        k.release();
      }
    });
    std::printf("%-12s %-40s %7.1f ns\n", k.name, "one tile's product", with * 1e6);
    std::printf("%-12s %-40s %7.1f ns\n", k.name, "configure and release",
                alone * 1e6 - with * 1e6);
    k.release();
  }
}

}  // namespace
}  // namespace trm::ops::cpu

int main() {
  using namespace trm::ops::cpu;
  for (auto* table = all_kernels(true); *table; ++table) measure(**table);
}
