// Rates of one core in the kernels of trm/ops/cpu, for every table this processor runs, in both
// types at the shapes of a Sudoku training step (97 tokens, 512 channels, inner sizes 1536 and
// 512).
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>
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

void measure(bool bfloat16, const Kernels& k) {
  const Type type(bfloat16, k);
  const std::string name = std::string(k.name) + (bfloat16 ? "" : " float32");
  Scratch scratch;
  auto words = [&](long n) {
    float* p = scratch.floats(n);
    std::fill_n(p, n, 0.0f);
    return p;
  };
  Word *a = words(224 * type.room(3072)), *panels = words(96 * type.words(512) * kPanel);
  Word* other = words(97 * 3200);
  float *c = words(224 * 512), *s = words(224 * 512);
  auto products = [&](const char* what, int rows, long n, int count) {
    const long k_words = type.whole_words(n), stride = type.room(n) / type.per_word;
    double t = seconds([&] {
      for (int j = 0; j < count; ++j) {
        k.gemm(a, stride, 1, rows, panels + j * k_words * kPanel, k_words, c, kPanel, kPanel,
               false);
      }
    });
    std::printf("%-18s %-40s %7.0f GFLOP/s\n", name.c_str(), what,
                2.0 * rows * n * kPanel * count / t / 1e9);
  };
  auto elements = [&](const char* what, long n, const std::function<void()>& work) {
    double t = seconds([&] {
      for (int i = 0; i < 100; ++i) work();
    });
    std::printf("%-18s %-40s %7.3f ns/element\n", name.c_str(), what, t / 100 / n * 1e9);
  };
  products("gates, 97 x 512, 96 panels", 97, 512, 96);
  products("gates, 194 x 512, 96 panels", 194, 512, 96);
  products("down, 97 x 1536, 16 panels", 97, 1536, 16);
  products("down, 194 x 1536, 16 panels", 194, 1536, 16);
  products("gates' gradient, 194 x 3072, 16 panels", 194, 3072, 16);
  products("one panel, 224 x 256", 224, 256, 1);
  products("tokens' gates, 64 x 97, 1 panel", 64, 97, 1);
  products("the same, 64 x 96", 64, 96, 1);
  products("tokens' down, 97 x 512, 1 panel", 97, 512, 1);
  products("attention, 97 x 64, 4 panels", 97, 64, 4);
  const int before = threads();
  set_threads(1);
  float* sums = words(96L * 16 * kPanel * kPanel);
  const long rows_words = type.plain_words(1552);
  Word *left = words(16 * rows_words * kPanel), *right = words(96 * rows_words * kPanel);
  double t = seconds([&] { panel_products(type, left, 16, right, 96, 1552, sums, true); });
  set_threads(before);
  std::printf("%-18s %-40s %7.0f GFLOP/s\n", name.c_str(),
              "weights' gradient, 16 x 96 panels, 1552",
              2.0 * 16 * 96 * kPanel * kPanel * 1552 / t / 1e9);
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
  if (k.turn) elements("turn", 144 * 32, [&] { k.turn(panels, 144, a, odd_lines(144)); });
  if (k.split_rows) {
    elements("split_rows", 97 * 512, [&] { k.split_rows(s, 512, 97, 512, a, type.words(512)); });
    elements("split_panel", 512 * 32, [&] { k.split_panel(right, 512, panels); });
  }
  if (k.release) {
    const long tile = type.words(32);
    double with = seconds([&] {
      for (int i = 0; i < 1000; ++i) k.gemm(a, tile, 1, 16, panels, tile, c, 32, 16, false);
    });
    double alone = seconds([&] {
      for (int i = 0; i < 1000; ++i) {
        k.gemm(a, tile, 1, 16, panels, tile, c, 32, 16, false);
        k.release();
      }
    });
    std::printf("%-18s %-40s %7.1f ns\n", name.c_str(), "one tile's product", with * 1e6);
    std::printf("%-18s %-40s %7.1f ns\n", name.c_str(), "configure and release",
                alone * 1e6 - with * 1e6);
    k.release();
  }
}

}  // namespace
}  // namespace trm::ops::cpu

// trm_cpu_kernels [amx|avx512bf16|…]: every table, or the one of this name.
int main(int count, char** words) {
  using namespace trm::ops::cpu;
  for (bool bfloat16 : {true, false}) {
    for (auto* table = all_kernels(bfloat16); *table; ++table) {
      if (count < 2 || std::strcmp(words[1], (*table)->name) == 0) measure(bfloat16, **table);
    }
  }
}
