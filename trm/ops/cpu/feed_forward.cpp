#include "trm/ops/cpu/feed_forward.h"

#include <cstring>
#include <vector>

namespace trm::ops::cpu {
namespace {
// Rows of one round of weight gradients, which keeps their inner gradients.
constexpr long kChunk = 2048;
}  // namespace

void FeedForward::pack_gates(const Rows& gate_up, Scratch& scratch) {
  long k = t_.words(hidden_), pairs = padded_inner() / kPair;
  gates_ = scratch.floats(pairs * k * kPanel);
  parallel(pairs, [&](long begin, long end) {
    for (long j = begin; j < end; ++j) {
      const void* columns[kPanel] = {};
      for (int n = 0; n < kPair && j * kPair + n < inner_; ++n) {
        columns[n] = gate_up.row(t_, j * kPair + n);
        columns[kPair + n] = gate_up.row(t_, inner_ + j * kPair + n);
      }
      row_panel(t_, columns, hidden_, gates_ + j * k * kPanel);
    }
  });
}

void FeedForward::pack_forward(const float* gate_up, const float* down, Scratch& scratch) {
  pack_gates(narrow_rows(t_, gate_up, 2 * inner_, hidden_, scratch), scratch);
  down_ = pack_rows(t_, narrow_rows(t_, down, hidden_, inner_, scratch), hidden_, inner_, scratch);
}

void FeedForward::pack_backward(const float* gate_up, const float* down, bool kept,
                                Scratch& scratch) {
  Rows gate_rows = narrow_rows(t_, gate_up, 2 * inner_, hidden_, scratch);
  if (!kept) pack_gates(gate_rows, scratch);
  Rows rows = narrow_rows(t_, down, hidden_, inner_, scratch);
  down_back_ = pack_columns(t_, row_pointers(t_, rows.data, rows.ld, hidden_, hidden_, scratch),
                            hidden_, inner_, scratch);
  std::vector<const void*> ordered(2 * padded_inner(), nullptr);  // in the column order of gates_
  for (long i = 0; i < inner_; ++i) {
    long at = i / kPair * kPanel + i % kPair;
    ordered[at] = gate_rows.row(t_, i);
    ordered[at + kPair] = gate_rows.row(t_, inner_ + i);
  }
  gates_back_ = pack_columns(t_, ordered.data(), 2 * padded_inner(), hidden_, scratch);
}

void FeedForward::forward(const void* h, long rows, void* y, float* inv, void* gates) const {
  long blocks = round_up(ceil_div(rows, t_.k.pass_rows), threads());
  parallel(blocks, [&](long begin, long end) {
    for (long b = begin; b < end; ++b) {
      long first = rows * b / blocks, last = rows * (b + 1) / blocks;
      Gates kept{gates ? t_.at(gates, first * kPanel) : nullptr, rows};
      forward_rows(t_.at(h, first * hidden_), last - first, t_.at(y, first * hidden_), inv + first,
                   kept);
    }
  });
}

void FeedForward::forward_rows(const void* h, long rows, void* y, float* inv,
                               const Gates& gates) const {
  Scratch scratch;
  long k = t_.words(hidden_), k_inner = t_.words(inner_), ld_s = hidden_panels() * kPanel;
  long block = std::min(rows, t_.k.pass_rows);
  float* c = scratch.floats(block * kPanel);
  float* s = scratch.floats(block * ld_s);
  const long ld_act = t_.room(padded_inner());
  void* act = scratch.bytes(block * ld_act * t_.size);
  for (long first = 0; first < rows; first += block) {
    int n = static_cast<int>(std::min(block, rows - first));
    const void* in = t_.at(h, first * hidden_);
    Scratch of_block;
    Rows left = left_side(t_, {in, hidden_}, n, hidden_, of_block);
    for (long j = 0; j < padded_inner() / kPair; ++j) {
      multiply(t_, left, n, gates_ + j * k * kPanel, k, c, kPanel, kPanel);
      if (gates.data) t_.k.narrow(c, gates_at(gates, j, first), n * kPanel);
      t_.k.gate_columns(c, n, t_.at(act, j * kPair), ld_act);
    }
    left = left_side(t_, act, ld_act, n, padded_inner());
    for (long j = 0; j < hidden_panels(); ++j) {
      int width = static_cast<int>(std::min<long>(kPanel, hidden_ - j * kPanel));
      multiply(t_, left, n, down_ + j * k_inner * kPanel, k_inner, c, kPanel, width);
      t_.k.add_residual(c, t_.at(in, j * kPanel), hidden_, n, width, s + j * kPanel, ld_s);
    }
    t_.k.norm_rows(s, ld_s, n, hidden_, eps_, t_.at(y, first * hidden_), hidden_, inv + first);
  }
}

// The rows of one round, and what its first half leaves for the weight gradients: panels with k =
// rows, of h, d(sum), d(gate|up) and act.
struct FeedForward::Chunk {
  const void *h, *y, *dy;
  const float* inv;
  Gates gates;
  void* dh;
  long rows, words;  // words along k
  Word *h_panels, *ds_panels, *dgate_panels, *act_panels;
};

void FeedForward::backward(const void* h, const void* y, const float* inv, const void* gates,
                           const void* dy, long rows, void* dh, float* sums,
                           bool accumulate) const {
  Scratch scratch;
  long chunk_rows = std::min(rows, kChunk), most = t_.plain_words(chunk_rows);
  Chunk chunk{};
  chunk.h_panels = scratch.floats(hidden_panels() * most * kPanel);
  chunk.ds_panels = scratch.floats(hidden_panels() * most * kPanel);
  chunk.dgate_panels = scratch.floats(2 * inner_panels() * most * kPanel);
  chunk.act_panels = scratch.floats(inner_panels() * most * kPanel);
  float* ddown = sums + 2 * padded_inner() * hidden_panels() * kPanel;
  for (long first = 0; first < rows; first += chunk_rows) {
    chunk.rows = std::min(chunk_rows, rows - first);
    chunk.words = t_.plain_words(chunk.rows);
    chunk.h = t_.at(h, first * hidden_);
    chunk.y = t_.at(y, first * hidden_);
    chunk.dy = t_.at(dy, first * hidden_);
    chunk.dh = t_.at(dh, first * hidden_);
    chunk.inv = inv + first;
    chunk.gates = {gates ? const_cast<void*>(t_.at(gates, first * kPanel)) : nullptr, rows};
    long blocks = round_up(ceil_div(chunk.rows, t_.k.pass_rows), threads());
    parallel(blocks, [&](long begin, long end) {
      for (long b = begin; b < end; ++b) {
        long from = chunk.words * b / blocks, to = chunk.words * (b + 1) / blocks;
        if (from < to) backward_rows(chunk, from, to - from);
      }
    });
    panel_products(t_, chunk.h_panels, hidden_panels(), chunk.dgate_panels, 2 * inner_panels(),
                   chunk.rows, sums, accumulate || first > 0);
    panel_products(t_, chunk.ds_panels, hidden_panels(), chunk.act_panels, inner_panels(),
                   chunk.rows, ddown, accumulate || first > 0);
  }
}

void FeedForward::backward_rows(const Chunk& chunk, long first_word, long words) const {
  Scratch scratch;
  long first = first_word * t_.per_word;
  int whole = static_cast<int>(words * t_.per_word);  // with the odd last row's zero partner
  int n = static_cast<int>(std::min<long>(whole, chunk.rows - first));
  long k = t_.words(hidden_), ld = hidden_panels() * kPanel, both = 2 * padded_inner();
  long k_both = t_.words(both), ld_both = t_.room(both);
  float* ds = scratch.floats(whole * ld);
  void* ds_rows = scratch.bytes(n * hidden_ * t_.size);
  float* dact = scratch.floats(whole * kPanel);
  float* c = scratch.floats(whole * kPanel);
  void* dgates = scratch.bytes(whole * ld_both * t_.size);
  const void* h = t_.at(chunk.h, first * hidden_);

  std::memset(ds, 0, whole * ld * sizeof(float));
  t_.k.norm_rows_backward(t_.at(chunk.dy, first * hidden_), t_.at(chunk.y, first * hidden_),
                          hidden_, chunk.inv + first, n, hidden_, ds, ld);
  for (int m = 0; m < n; ++m) t_.k.narrow(ds + m * ld, t_.at(ds_rows, m * hidden_), hidden_);

  std::vector<const void*> h_rows(whole, nullptr);
  for (int m = 0; m < n; ++m) h_rows[m] = t_.at(h, m * hidden_);
  for (long j = 0; j < hidden_panels(); ++j) {
    int width = static_cast<int>(std::min<long>(kPanel, hidden_ - j * kPanel));
    long at = (j * chunk.words + first_word) * kPanel;
    t_.k.pack_columns(h_rows.data(), whole, j * kPanel, width, chunk.h_panels + at);
    t_.k.pack_block(ds + j * kPanel, ld, whole, chunk.ds_panels + at);
  }

  for (int m = n; m < whole; ++m) {
    std::fill_n(dact + m * kPanel, kPanel, 0.0f);
    std::fill_n(c + m * kPanel, kPanel, 0.0f);
  }
  Rows ds_left = left_side(t_, {ds_rows, hidden_}, n, hidden_, scratch);
  Rows h_left{};
  if (!chunk.gates.data) h_left = left_side(t_, {h, hidden_}, n, hidden_, scratch);
  for (long i = 0; i < inner_panels(); ++i) {
    multiply(t_, ds_left, n, down_back_ + i * k * kPanel, k, dact, kPanel, kPanel);
    Word* act_panel = chunk.act_panels + (i * chunk.words + first_word) * kPanel;
    for (long j = 2 * i; j < 2 * i + 2; ++j) {
      if (chunk.gates.data) {
        t_.k.widen(gates_at(chunk.gates, j, first), c, n * kPanel);
      } else {
        multiply(t_, h_left, n, gates_ + j * k * kPanel, k, c, kPanel, kPanel);
      }
      int half = j % 2 * kPair;
      Word* dgate_panel = chunk.dgate_panels + (j * chunk.words + first_word) * kPanel;
      t_.k.gate_columns_backward(dact + half, c, whole, t_.at(dgates, j * kPanel), ld_both,
                                 dgate_panel, act_panel + half);
    }
  }
  Rows dgates_left = left_side(t_, dgates, ld_both, n, both);
  for (long j = 0; j < hidden_panels(); ++j) {
    int width = static_cast<int>(std::min<long>(kPanel, hidden_ - j * kPanel));
    multiply(t_, dgates_left, n, gates_back_ + j * k_both * kPanel, k_both, c, kPanel, width);
    t_.k.add_blocks(c, kPanel, ds + j * kPanel, ld, n, width,
                    t_.at(chunk.dh, first * hidden_ + j * kPanel), hidden_);
  }
}

void FeedForward::unpack(const float* sums, float* dgate_up, float* ddown) const {
  long size = hidden_panels() * kPanel * kPanel;
  parallel(2 * inner_panels(), [&](long begin, long end) {
    for (long j = begin; j < end; ++j) {
      for (long d = 0; d < hidden_; ++d) {
        const float* from = sums + j * size + d * kPanel;
        for (int n = 0; n < kPair && j * kPair + n < inner_; ++n) {
          dgate_up[(j * kPair + n) * hidden_ + d] = from[n];
          dgate_up[(inner_ + j * kPair + n) * hidden_ + d] = from[kPair + n];
        }
      }
    }
  });
  unpack_panels(sums + 2 * inner_panels() * size, hidden_panels(), hidden_, inner_, ddown);
}

}  // namespace trm::ops::cpu
