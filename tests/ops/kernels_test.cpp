// The tables of kernels.h against each other, and the operations by emulated tiles (AMX).
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "trm/ops/cpu/attention.h"
#include "trm/ops/cpu/feed_forward.h"
#include "trm/ops/cpu/recursion.h"
#include "trm/ops/cpu/token_mixing.h"

namespace trm::ops::cpu {

extern const Kernels kernels_generic[2], kernels_emulated[2];

namespace {

// All tests of the program by emulated tiles.
const bool emulated = [] {
  const bool wanted = std::getenv("TRM_TEST_TILES");
  if (wanted) use_kernels(kernels_emulated);
  return wanted;
}();

std::mt19937& generator() {
  static std::mt19937 g(11);
  return g;
}
int draw(int low, int high) { return std::uniform_int_distribution<int>(low, high)(generator()); }

std::vector<float> normal(long n, float scale = 1) {
  std::normal_distribution<float> d(0, scale);
  std::vector<float> v(n);
  for (auto& x : v) x = d(generator());
  return v;
}

// n elements as T, with room for a few words more.
std::vector<float> narrowed(bool bfloat16, long n) {
  auto values = normal(n);
  std::vector<float> out(n + 64);
  kernels_generic[bfloat16].narrow(values.data(), out.data(), n);
  return out;
}

// The largest difference, relative to the largest value.
double difference(const std::vector<float>& a, const std::vector<float>& b) {
  double most = 1e-30, gap = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    if (!std::isfinite(a[i])) return INFINITY;
    most = std::max<double>(most, std::abs(b[i]));
    gap = std::max<double>(gap, std::abs(a[i] - b[i]));
  }
  return gap / most;
}

std::vector<const Kernels*> tables(bool bfloat16) {
  std::vector<const Kernels*> out{&kernels_emulated[bfloat16]};
  for (auto* t = all_kernels(bfloat16); *t; ++t) out.push_back(*t);
  return out;
}

// Both sides of a product as a table takes them; k and stride in words.
struct Sides {
  std::vector<float> a, panel;
  long stride, k;
};
Sides sides(bool bfloat16, const Kernels& table, const std::vector<float>& a, long stride, int rows,
            const std::vector<float>& panel, long k) {
  if (!table.split_rows) return {a, panel, stride, k};
  const long words = split_words(k);
  Sides out{std::vector<float>(rows * words, NAN), std::vector<float>(words * kPanel, NAN), words,
            words};
  table.split_rows(a.data(), stride, rows, k, out.a.data(), words);
  table.split_panel(panel.data(), k, out.panel.data());
  return out;
}

struct Product {
  int rows, k, columns;
  bool accumulate, by_columns;  // by_columns: element (m, k) of a is at a[k*stride + m]
};

void expect_products(bool bfloat16, const Product& p) {
  const int per_word = bfloat16 ? 2 : 1, stride = (p.by_columns ? p.rows : p.k) + draw(0, 40);
  const long row_stride = p.by_columns ? 1 : stride, k_stride = p.by_columns ? stride : 1;
  auto a = narrowed(bfloat16, static_cast<long>(stride) * std::max(p.rows, p.k) * per_word);
  auto panel = narrowed(bfloat16, static_cast<long>(p.k) * kPanel * per_word);
  const long ldc = kPanel + 16 * draw(0, 2), used = p.columns > 16 ? kPanel : 16;
  const auto before = normal((p.rows + 1) * ldc);
  auto run = [&](const Kernels& table) {
    auto c = before;
    auto s = sides(bfloat16, table, a, stride, p.rows, panel, p.k);
    table.gemm(s.a.data(), p.by_columns ? row_stride : s.stride, k_stride, p.rows, s.panel.data(),
               s.k, c.data(), ldc, p.columns, p.accumulate);
    return c;
  };
  const auto want = run(kernels_generic[bfloat16]);
  for (auto* table : tables(bfloat16)) {
    if (table->split_rows && p.by_columns) continue;  // it has no such products
    SCOPED_TRACE(testing::Message() << table->name << " rows " << p.rows << " k " << p.k
                                    << " columns " << p.columns << " accumulate " << p.accumulate);
    auto got = run(*table);
    std::vector<float> left, right;
    for (long m = 0; m <= p.rows; ++m) {
      for (long n = 0; n < ldc; ++n) {
        if (m < p.rows && n < p.columns) {
          left.push_back(got[m * ldc + n]), right.push_back(want[m * ldc + n]);
        } else if (m == p.rows || n >= used) {
          ASSERT_EQ(got[m * ldc + n], before[m * ldc + n]) << m << ", " << n << " is outside c";
        }
      }
    }
    ASSERT_LT(difference(left, right), 2e-6 * std::sqrt(p.k));
    if (table->release) table->release();
  }
}

TEST(KernelsTest, ProductsAreTheSameInEveryTable) {
  for (bool bfloat16 : {false, true}) {
    for (int i = 0; i < 150; ++i) {
      Product p{draw(1, 120), draw(1, i % 3 ? 60 : 300), draw(1, kPanel), draw(0, 1) == 1,
                draw(0, 3) == 0};
      expect_products(bfloat16, p);
    }
    for (int rows : {1, 15, 16, 17, 31, 32, 33, 48, 64, 97, 194}) {
      for (int k : {1, 15, 16, 17, 49, 128, 144, 256, 530}) {
        for (bool accumulate : {false, true}) {
          expect_products(bfloat16, {rows, k, 32, accumulate, false});
        }
      }
    }
  }
}

// What an element gets must not depend on how rows are split over threads.
TEST(KernelsTest, BitsDoNotDependOnTheRowsOfACall) {
  constexpr int rows = 97, k = 645;
  for (bool bfloat16 : {false, true}) {
    auto a = narrowed(bfloat16, 2L * rows * k), panel = narrowed(bfloat16, 2L * k * kPanel);
    for (auto* table : tables(bfloat16)) {
      auto s = sides(bfloat16, *table, a, k, rows, panel, k);
      for (bool accumulate : {false, true}) {
        std::vector<float> whole(rows * kPanel, 1.0f), parts = whole;
        table->gemm(s.a.data(), s.stride, 1, rows, s.panel.data(), s.k, whole.data(), kPanel,
                    kPanel, accumulate);
        for (int row = 0, n; row < rows; row += n) {
          n = std::min(draw(1, 40), rows - row);
          table->gemm(s.a.data() + row * s.stride, s.stride, 1, n, s.panel.data(), s.k,
                      parts.data() + row * kPanel, kPanel, kPanel, accumulate);
        }
        EXPECT_EQ(whole, parts) << table->name;
      }
    }
  }
}

TEST(KernelsTest, TurnedPanelsHoldTheSameWords) {
  for (auto* table : tables(true)) {
    if (!table->turn) continue;
    for (int k : {1, 3, 16, 17, 49, 128}) {
      auto panel = normal(k * kPanel);
      long ld = odd_lines(k);
      EXPECT_GE(ld, k);
      EXPECT_EQ(ld % 32, 16);
      std::vector<float> rows(kPanel * ld);
      table->turn(panel.data(), k, rows.data(), ld);
      for (int i = 0; i < k; ++i) {
        for (int n = 0; n < kPanel; ++n) ASSERT_EQ(rows[n * ld + i], panel[i * kPanel + n]);
      }
    }
  }
}

TEST(KernelsTest, FloatsAreSplitInPlaceToo) {
  const Type t(false, kernels_emulated[false]);
  for (int k : {1, 2, 16, 33, 63, 64, 65, 128, 530}) {
    const long words = t.words(k), ld = t.room(k);
    auto rows = normal(5L * k);
    std::vector<float> split(5 * words, 0), in_place(5 * ld, NAN);
    for (int m = 0; m < 5; ++m) std::copy_n(&rows[m * k], k, &in_place[m * ld]);
    t.k.split_rows(rows.data(), k, 5, k, split.data(), words);
    left_side(t, in_place.data(), ld, 5, k);
    for (int m = 0; m < 5; ++m) {  // all but the padding after the unit
      ASSERT_EQ(std::memcmp(&in_place[m * ld], &split[m * words], (words - 15) * 4), 0) << k;
    }
    auto panel = normal(t.room_words(k) * kPanel);
    std::vector<float> out(words * kPanel);
    t.k.split_panel(panel.data(), k, out.data());
    make_right_side(t, panel.data(), k);
    ASSERT_EQ(std::memcmp(panel.data(), out.data(), (words - 15) * kPanel * 4), 0) << k;
  }
}

// Rows and columns of any size are split by their own largest value; what is no number stays none.
TEST(KernelsTest, SplitFloatsOfAnySize) {
  constexpr int k = 70;
  auto product = [](const Kernels& table, std::vector<float> a, std::vector<float> panel) {
    auto s = sides(false, table, a, k, 2, panel, k);
    std::vector<float> c(2 * kPanel);
    table.gemm(s.a.data(), s.stride, 1, 2, s.panel.data(), s.k, c.data(), kPanel, kPanel, false);
    return c;
  };
  auto a = normal(2 * k), panel = normal(k * kPanel);
  for (int i = 0; i < k; ++i) {
    a[i] *= 1e20f, a[k + i] *= 1e-12f;
    panel[i * kPanel + 3] *= 1e-20f, panel[i * kPanel + 4] *= 1e15f, panel[i * kPanel + 5] = 0;
  }
  for (auto* table : tables(false)) {
    SCOPED_TRACE(table->name);
    auto got = product(*table, a, panel), want = product(kernels_generic[false], a, panel);
    for (int n = 0; n < 2 * kPanel; ++n) {
      EXPECT_NEAR(got[n], want[n],
                  1e-5 * std::abs(want[n]) + (n < kPanel ? 1e15 : 1e-17) * (n % kPanel == 3 ? 1e-20
                                                                            : n % kPanel == 4 ? 1e15
                                                                                              : 1))
          << n;
    }
    for (float wrong : {INFINITY, -INFINITY, NAN}) {
      auto broken = a;
      broken[17] = wrong;
      auto c = product(*table, broken, panel);
      EXPECT_FALSE(std::isfinite(c[0]));
      EXPECT_TRUE(std::isfinite(c[kPanel]));
      auto column = panel;
      column[33 * kPanel + 7] = wrong;
      c = product(*table, a, column);
      EXPECT_FALSE(std::isfinite(c[7]));
      EXPECT_TRUE(std::isfinite(c[8]));
    }
  }
}

// One operation's arrays as floats, by the table of `t`.
using Outputs = std::vector<std::vector<float>>;

struct Arrays {
  const Type& t;
  Outputs all;
  std::vector<std::pair<std::vector<float>, long>> narrow;  // T arrays and their lengths

  void* of_type(int i) { return narrow[i].first.data(); }
  float* floats(int i) { return all[i].data(); }
  Outputs take() {
    for (auto& [data, n] : narrow) {
      std::vector<float> wide(n), ones(n, 1.0f);
      for (long i = 0; i < n; ++i) {  // a dot product with one: the T element as a float
        std::vector<float> one(1);
        t.k.narrow(ones.data(), one.data(), 1);
        t.k.dot_rows(t.at(data.data(), i), one.data(), 0, 1, 1, &wide[i]);
      }
      all.push_back(wide);
    }
    return all;
  }
};

void expect_close(const Outputs& got, const Outputs& want, const char* what) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_LT(difference(got[i], want[i]), 0.02) << what << ", output " << i;
  }
}

struct Sizes {
  int batch, tokens, hidden, inner, heads;
};
const std::vector<Sizes> kSizes = {{1, 1, 2, 1, 1},     {3, 20, 34, 17, 1},  {3, 97, 64, 48, 2},
                                   {2, 113, 96, 71, 3}, {5, 37, 130, 70, 5}, {2, 230, 64, 33, 1}};

Outputs run_mixing(const Type& t, const Sizes& s, bool over_tokens, std::mt19937 seed,
                   bool keeps_gates = false) {
  generator() = seed;
  const int n = over_tokens ? s.tokens : s.hidden;
  const long size = static_cast<long>(s.batch) * s.tokens * s.hidden;
  auto gate_up = normal(2L * s.inner * n, 0.2f), down = normal(1L * n * s.inner, 0.2f);
  auto h = narrowed(true, size), dy = narrowed(true, size);
  Arrays a{t, {}, {}};
  a.narrow.assign(2, {std::vector<float>(size + 64), size});
  a.all = {std::vector<float>(gate_up.size()), std::vector<float>(down.size())};
  std::vector<float> inv(s.batch * std::max(s.tokens, s.hidden));
  Scratch scratch;
  if (over_tokens) {
    TokenMixing op(t, s.tokens, s.hidden, s.inner, 1e-5f);
    float* sums = scratch.floats(op.sums_size());
    op.pack_forward(gate_up.data(), down.data(), scratch);
    op.forward(h.data(), s.batch, a.of_type(0), inv.data());
    op.pack_backward(gate_up.data(), down.data(), scratch);
    op.backward(h.data(), a.of_type(0), inv.data(), dy.data(), s.batch, a.of_type(1), sums, false);
    op.unpack(sums, a.floats(0), a.floats(1));
  } else {
    FeedForward op(t, s.hidden, s.inner, 1e-5f);
    long rows = s.batch * s.tokens;
    float* sums = scratch.floats(op.sums_size());
    void* gates = keeps_gates ? scratch.bytes(op.gates_size(rows) * t.size) : nullptr;
    op.pack_forward(gate_up.data(), down.data(), scratch);
    op.forward(h.data(), rows, a.of_type(0), inv.data(), gates);
    op.pack_backward(gate_up.data(), down.data(), keeps_gates, scratch);
    op.backward(h.data(), a.of_type(0), inv.data(), gates, dy.data(), rows, a.of_type(1), sums,
                false);
    op.unpack(sums, a.floats(0), a.floats(1));
  }
  return a.take();
}

Outputs run_attention(const Type& t, const Sizes& s, std::mt19937 seed) {
  generator() = seed;
  const int width = s.hidden / s.heads / 2 * 2 * s.heads;
  const long rows = s.batch * s.tokens, size = rows * s.hidden;
  auto qkv = normal(3L * width * s.hidden, 0.2f), o = normal(1L * s.hidden * width, 0.2f);
  auto h = narrowed(true, size), dy = narrowed(true, size);
  Arrays a{t, {}, {}};
  a.narrow = {{std::vector<float>(size + 64), size},
              {std::vector<float>(rows * width + 64), rows * width},
              {std::vector<float>(size + 64), size}};
  a.all = {std::vector<float>(qkv.size()), std::vector<float>(o.size())};
  std::vector<float> inv(rows), log_sum(rows * s.heads);
  Scratch scratch;
  Attention op(t, {s.tokens, s.hidden, s.heads, width / s.heads}, nullptr, nullptr, 1e-5f);
  float* sums = scratch.floats(op.sums_size());
  op.pack_forward(qkv.data(), o.data(), scratch);
  op.forward(h.data(), s.batch, a.of_type(0), a.of_type(1), inv.data(), log_sum.data());
  op.pack_backward(qkv.data(), o.data(), scratch);
  op.backward(h.data(), a.of_type(0), a.of_type(1), inv.data(), log_sum.data(), dy.data(), s.batch,
              a.of_type(2), sums, false);
  op.unpack(sums, a.floats(0), a.floats(1));
  return a.take();
}

Outputs run_recursion(const Type& t, const Sizes& s, std::mt19937 seed) {
  generator() = seed;
  const long size = static_cast<long>(s.batch) * s.tokens * s.hidden;
  Scratch scratch;
  Layer layer{{}, {}, FeedForward(t, s.hidden, s.inner, 1e-5f)};
  layer.tokens.emplace(t, s.tokens, s.hidden, s.inner, 1e-5f);
  auto up = normal(2L * s.inner * s.hidden, 0.2f), down = normal(1L * s.hidden * s.inner, 0.2f);
  auto mix_up = normal(2L * s.inner * s.tokens, 0.2f), mix = normal(1L * s.tokens * s.inner, 0.2f);
  layer.channels.pack_forward(up.data(), down.data(), scratch);
  layer.tokens->pack_forward(mix_up.data(), mix.data(), scratch);
  Arrays a{t, {}, {}};
  for (int i = 0; i < 2; ++i) a.narrow.push_back({narrowed(true, size), size});
  auto x = narrowed(true, size);
  Recursion(t, s.tokens, s.hidden, {layer})
      .run(a.of_type(0), a.of_type(1), x.data(), s.batch, 1, 2);
  return a.take();
}

TEST(KernelsTest, OperationsByTilesEqualThoseWithout) {
  const Type tiles(true, kernels_emulated[true]), plain(true, kernels_generic[true]);
  for (auto& s : kSizes) {
    SCOPED_TRACE(testing::Message() << "batch " << s.batch << " tokens " << s.tokens << " hidden "
                                    << s.hidden << " inner " << s.inner);
    auto seed = generator();
    expect_close(run_mixing(tiles, s, false, seed), run_mixing(plain, s, false, seed),
                 "feed-forward");
    expect_close(run_mixing(tiles, s, false, seed, true), run_mixing(plain, s, false, seed),
                 "feed-forward with kept gates");
    if (s.tokens < 2) continue;  // one token: y is +-1 and its gradient nothing but rounding
    expect_close(run_mixing(tiles, s, true, seed), run_mixing(plain, s, true, seed),
                 "token mixing");
    expect_close(run_attention(tiles, s, seed), run_attention(plain, s, seed), "attention");
    expect_close(run_recursion(tiles, s, seed), run_recursion(plain, s, seed), "recursion");
  }
}

}  // namespace
}  // namespace trm::ops::cpu
