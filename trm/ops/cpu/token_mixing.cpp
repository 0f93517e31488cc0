#include "trm/ops/cpu/token_mixing.h"

#include <cstring>
#include <vector>

namespace trm::ops::cpu {
namespace {
// Inner rows of one step: their gates and ups (2 x 64 x 32 floats) stay in the first-level cache.
constexpr int kRows = 64;
// Samples of one round of weight gradients, which keeps their inner gradients.
constexpr long kSamples = 4;
// Rows of a weight gradient that one unit of work makes.
constexpr long kUnit = 64;

// An odd last row gets a zero partner, so that pairs can be formed.
void zero_row(float* block, int row) { std::fill_n(block + row * kPanel, kPanel, 0.0f); }

// A weight as the left side of products.
Rows left_weight(const Type& t, const float* weight, long rows, long n, Scratch& scratch) {
  return left_side(t, narrow_rows(t, weight, rows, n, scratch), rows, n, scratch);
}
Rows left_transposed(const Type& t, const float* weight, long n, long columns, Scratch& scratch) {
  return left_side(t, narrow_transposed(t, weight, n, columns, scratch), columns, n, scratch);
}
}  // namespace

void TokenMixing::pack_forward(const float* gate_up, const float* down, Scratch& scratch) {
  gate_up_ = left_weight(t_, gate_up, 2 * inner_, tokens_, scratch);
  down_ = left_weight(t_, down, tokens_, inner_, scratch);
}

void TokenMixing::pack_backward(const float* gate_up, const float* down, Scratch& scratch) {
  gate_up_ = left_weight(t_, gate_up, 2 * inner_, tokens_, scratch);
  down_back_ = left_transposed(t_, down, tokens_, inner_, scratch);
  float* padded = scratch.floats(2 * even_inner() * tokens_);
  for (int part = 0; part < 2; ++part) {
    float* out = padded + part * even_inner() * tokens_;
    std::copy_n(gate_up + part * inner_ * tokens_, inner_ * tokens_, out);
    std::fill(out + inner_ * tokens_, out + even_inner() * tokens_, 0.0f);
  }
  gate_up_back_ = left_transposed(t_, padded, 2 * even_inner(), tokens_, scratch);
}

void TokenMixing::forward(const void* h, long batch, void* y, float* inv) const {
  long sample = static_cast<long>(tokens_) * hidden_;
  parallel(batch * panels(), [&](long begin, long end) {
    for (long i = begin; i < end; ++i) {
      long b = i / panels();
      forward_panel(t_.at(h, b * sample), i % panels(), t_.at(y, b * sample), inv + b * hidden_);
    }
  });
}

void TokenMixing::forward_panel(const void* h, long panel, void* y, float* inv) const {
  Scratch scratch;
  long first = panel * kPanel, k = token_words(), k_inner = t_.words(inner_);
  int width = static_cast<int>(std::min<long>(kPanel, hidden_ - first));
  Word* in = scratch.floats(k * kPanel);
  Word* act = scratch.floats(t_.room_words(inner_) * kPanel);
  float* gate = scratch.floats((kRows + 1) * kPanel);
  float* up = scratch.floats((kRows + 1) * kPanel);
  float* s = scratch.floats(tokens_ * kPanel);
  const void** rows = static_cast<const void**>(scratch.bytes(tokens_ * sizeof(void*)));
  for (int l = 0; l < tokens_; ++l) rows[l] = t_.at(h, static_cast<long>(l) * hidden_);

  column_panel(t_, rows, tokens_, first, width, in);
  zero_rest(in);
  for (int i = 0; i < inner_; i += kRows) {
    int n = std::min(kRows, inner_ - i);
    multiply(t_, gate_up_.from(t_, i), n, in, k, gate, kPanel, width);
    multiply(t_, gate_up_.from(t_, inner_ + i), n, in, k, up, kPanel, width);
    int whole = static_cast<int>(round_up(n, t_.per_word));
    if (whole > n) zero_row(gate, n), zero_row(up, n);
    t_.k.gate_rows(gate, up, whole, act + t_.plain_words(i) * kPanel);
  }
  make_right_side(t_, act, inner_);
  multiply(t_, down_, tokens_, act, k_inner, s, kPanel, width);
  t_.k.add_residual(s, t_.at(h, first), hidden_, tokens_, width, s, kPanel);
  t_.k.norm_columns(s, tokens_, width, eps_, t_.at(y, first), hidden_, inv + first);
}

// One sample of a round, and what its first half leaves for the weight gradients.
struct TokenMixing::Sample {
  const void *h, *y, *dy;
  const float* inv;
  void* dh;
  // To be sides of products: rows (2*even inner | even inner, hidden), panels of tokens, k = padded
  // hidden.
  void *dgates, *act;
  Word *h_panels, *ds_panels;
};

void TokenMixing::backward(const void* h, const void* y, const float* inv, const void* dy,
                           long batch, void* dh, float* sums, bool accumulate) const {
  Scratch scratch;
  long count = std::min(batch, std::max<long>(kSamples, threads()));
  long size = static_cast<long>(tokens_) * hidden_;
  std::vector<Sample> samples(count);
  for (auto& s : samples) {
    s.dgates = scratch.bytes(2 * even_inner() * hidden_room() * t_.size);
    s.act = scratch.bytes(even_inner() * hidden_room() * t_.size);
    s.h_panels = scratch.floats(token_panels() * hidden_words() * kPanel);
    s.ds_panels = scratch.floats(token_panels() * hidden_words() * kPanel);
  }
  float* ddown = sums + 2 * inner_ * token_panels() * kPanel;  // (inner, tokens)
  for (long b = 0; b < batch; b += count) {
    long n = std::min(count, batch - b);
    for (long i = 0; i < n; ++i) {
      auto& s = samples[i];
      long at = (b + i) * size;
      s.h = t_.at(h, at), s.y = t_.at(y, at), s.dy = t_.at(dy, at), s.dh = t_.at(dh, at);
      s.inv = inv + (b + i) * hidden_;
    }
    parallel(n * panels(), [&](long begin, long end) {
      for (long i = begin; i < end; ++i) backward_panel(samples[i / panels()], i % panels());
    });
    weight_gradients(samples.data(), n, sums, ddown, accumulate || b > 0);
  }
}

void TokenMixing::unpack(const float* sums, float* dgate_up, float* ddown) const {
  long ld = token_panels() * kPanel;
  for (long i = 0; i < 2 * inner_; ++i) {
    std::copy_n(sums + i * ld, tokens_, dgate_up + i * tokens_);
  }
  for (long i = 0; i < inner_; ++i) {
    for (int l = 0; l < tokens_; ++l) ddown[l * inner_ + i] = sums[(2 * inner_ + i) * ld + l];
  }
}

void TokenMixing::backward_panel(const Sample& sample, long panel) const {
  Scratch scratch;
  long first = panel * kPanel, k = token_words(), ld = hidden_room();
  long both = 2 * even_inner();
  int width = static_cast<int>(std::min<long>(kPanel, hidden_ - first));
  Word* in = scratch.floats(k * kPanel);
  Word* ds_panel = scratch.floats(k * kPanel);
  Word* dgates = scratch.floats(t_.room_words(both) * kPanel);
  float* dact = scratch.floats((kRows + 1) * kPanel);
  float* gate = scratch.floats((kRows + 1) * kPanel);
  float* up = scratch.floats((kRows + 1) * kPanel);
  float* ds = scratch.floats(tokens_ * kPanel);
  float* c = scratch.floats(tokens_ * kPanel);
  void* narrow = scratch.bytes(token_panels() * kPanel * kPanel * t_.size);
  const void** rows = static_cast<const void**>(scratch.bytes(tokens_ * sizeof(void*)));
  for (int l = 0; l < tokens_; ++l) rows[l] = t_.at(sample.h, static_cast<long>(l) * hidden_);

  t_.k.norm_columns_backward(t_.at(sample.dy, first), t_.at(sample.y, first), hidden_,
                             sample.inv + first, tokens_, width, ds);
  block_panel(t_, ds, kPanel, tokens_, ds_panel);
  column_panel(t_, rows, tokens_, first, width, in);
  zero_rest(ds_panel), zero_rest(in);

  for (int i = 0; i < inner_; i += kRows) {
    int n = std::min(kRows, inner_ - i), whole = static_cast<int>(round_up(n, t_.per_word));
    multiply(t_, down_back_.from(t_, i), n, ds_panel, k, dact, kPanel, kPanel);
    multiply(t_, gate_up_.from(t_, i), n, in, k, gate, kPanel, kPanel);
    multiply(t_, gate_up_.from(t_, inner_ + i), n, in, k, up, kPanel, kPanel);
    if (whole > n) zero_row(dact, n), zero_row(gate, n), zero_row(up, n);
    Word* dgate_panel = dgates + t_.plain_words(i) * kPanel;
    Word* dup_panel = dgate_panel + t_.plain_words(even_inner()) * kPanel;
    void* dgate = t_.at(sample.dgates, i * ld + first);
    void* dup = t_.at(sample.dgates, (even_inner() + i) * ld + first);
    void* act = t_.at(sample.act, i * ld + first);
    t_.k.gate_rows_backward(dact, gate, up, whole, dgate_panel, dup_panel, dgate, dup, act, ld);
  }
  make_right_side(t_, dgates, both);
  multiply(t_, gate_up_back_, tokens_, dgates, t_.words(both), c, kPanel, width);
  t_.k.add_blocks(c, kPanel, ds, kPanel, tokens_, width, t_.at(sample.dh, first), hidden_);

  // h^T and ds^T as panels of tokens, this panel's part of k.
  long k_here = t_.plain_words(kPanel), k_first = panel * k_here;
  t_.k.narrow(ds, narrow, static_cast<long>(tokens_) * kPanel);
  for (long j = 0; j < token_panels(); ++j) {
    const void *from_h[kPanel] = {}, *from_ds[kPanel] = {};
    for (int l = 0; l < kPanel && j * kPanel + l < tokens_; ++l) {
      from_h[l] = t_.at(sample.h, (j * kPanel + l) * hidden_ + first);
      from_ds[l] = t_.at(narrow, (j * kPanel + l) * kPanel);
    }
    long at = (j * hidden_words() + k_first) * kPanel, whole = t_.plain_words(width);
    t_.k.pack_rows(from_h, whole, sample.h_panels + at);
    t_.k.pack_rows(from_ds, k_here, sample.ds_panels + at);
    std::fill(sample.h_panels + at + whole * kPanel, sample.h_panels + at + k_here * kPanel, 0.0f);
  }
}

// d(gate_up) = sum over samples of dgates · h^T, and d(down)^T of act · ds^T.
void TokenMixing::weight_gradients(const Sample* samples, long count, float* dgate_up, float* ddown,
                                   bool accumulate) const {
  long k = t_.words(padded_hidden()), ld = token_panels() * kPanel;
  long each = ceil_div(inner_, kUnit);
  parallel(t_.k.split_panel ? 2 * count * token_panels() : 0, [&](long begin, long end) {
    for (long i = begin; i < end; ++i) {
      const auto& s = samples[i / token_panels() / 2];
      Word* panels = i / token_panels() % 2 ? s.ds_panels : s.h_panels;
      make_right_side(t_, panels + i % token_panels() * hidden_words() * kPanel, padded_hidden());
    }
  });
  parallel(3 * each, [&](long begin, long end) {
    for (long u = begin; u < end; ++u) {
      long part = u / each;  // gates, ups, act
      long first = inner_ * (u % each) / each, last = inner_ * (u % each + 1) / each;
      float* c = part == 2 ? ddown + first * ld : dgate_up + (part * inner_ + first) * ld;
      for (long s = 0; s < count; ++s) {
        void* rows = part == 2 ? samples[s].act : samples[s].dgates;
        long row = (part == 1 ? even_inner() : 0) + first;
        Rows left = left_side(t_, t_.at(rows, row * hidden_room()), hidden_room(), last - first,
                              padded_hidden());
        const Word* right = part == 2 ? samples[s].ds_panels : samples[s].h_panels;
        for (long j = 0; j < token_panels(); ++j) {
          int columns = static_cast<int>(std::min<long>(kPanel, tokens_ - j * kPanel));
          multiply(t_, left, last - first, right + j * hidden_words() * kPanel, k, c + j * kPanel,
                   ld, columns, accumulate || s > 0);
        }
      }
    }
  });
}

}  // namespace trm::ops::cpu
