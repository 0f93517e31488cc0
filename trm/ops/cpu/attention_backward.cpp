#include <cmath>
#include <cstring>

#include "trm/ops/cpu/attention.h"

namespace trm::ops::cpu {
namespace {
constexpr long kQueries = 112;  // queries of one pass over keys and values, even
constexpr long kRound = 2048;   // rows of one round of weight gradients
}  // namespace

void Attention::pack_backward(const float* qkv, const float* o, Scratch& scratch) {
  int width = a_.width();
  Rows qkv_rows = narrow_rows(t_, qkv, 3 * width, a_.hidden, scratch);
  qkv_ = pack_rows(t_, qkv_rows, 3 * width, a_.hidden, scratch);
  qkv_back_ =
      pack_columns(t_, row_pointers(t_, qkv_rows.data, qkv_rows.ld, 3 * width, 3 * width, scratch),
                   3 * width, a_.hidden, scratch);
  Rows o_rows = narrow_rows(t_, o, a_.hidden, width, scratch);
  o_back_ =
      pack_columns(t_, row_pointers(t_, o_rows.data, o_rows.ld, a_.hidden, a_.hidden, scratch),
                   a_.hidden, width, scratch);
}

// Whole samples whose weight gradients are taken together.
struct Attention::Round {
  const void *h, *y, *mixed, *dy;
  const float *inv, *log_sum;
  void* dh;
  long rows, words;                                         // words along rows
  void *qkv, *dqkv, *ds, *dmixed;                           // T rows
  Word *h_panels, *ds_panels, *dqkv_panels, *mixed_panels;  // k = rows
};

void Attention::backward(const void* h, const void* y, const void* mixed, const float* inv,
                         const float* log_sum, const void* dy, long batch, void* dh, float* sums,
                         bool accumulate) const {
  Scratch scratch;
  long width = a_.width();
  long samples = std::clamp<long>(kRound / a_.tokens, 1, batch), most = samples * a_.tokens;
  long words = t_.plain_words(most);
  Round r{};
  r.qkv = scratch.bytes(most * 3 * width * t_.size);
  r.dqkv = scratch.bytes(most * 3 * width * t_.size);
  r.ds = scratch.bytes(most * a_.hidden * t_.size);
  r.dmixed = scratch.bytes(most * width * t_.size);
  r.h_panels = scratch.floats(hidden_panels() * words * kPanel);
  r.ds_panels = scratch.floats(hidden_panels() * words * kPanel);
  r.dqkv_panels = scratch.floats(qkv_panels() * words * kPanel);
  r.mixed_panels = scratch.floats(width_panels() * words * kPanel);
  float* do_sum = sums + qkv_panels() * hidden_panels() * kPanel * kPanel;
  for (long b = 0; b < batch; b += samples) {
    long count = std::min(samples, batch - b), first = b * a_.tokens;
    r.rows = count * a_.tokens, r.words = t_.plain_words(r.rows);
    r.h = t_.at(h, first * a_.hidden), r.y = t_.at(y, first * a_.hidden);
    r.dy = t_.at(dy, first * a_.hidden), r.dh = t_.at(dh, first * a_.hidden);
    r.mixed = t_.at(mixed, first * width);
    r.inv = inv + first, r.log_sum = log_sum + first * a_.heads;
    long blocks = round_up(ceil_div(r.rows, t_.k.pass_rows), threads());
    auto by_rows = [&](void (Attention::*part)(const Round&, long, long) const) {
      parallel(blocks, [&](long begin, long end) {
        for (long i = begin; i < end; ++i) {
          long from = r.words * i / blocks, to = r.words * (i + 1) / blocks;
          if (from < to) (this->*part)(r, from, to - from);
        }
      });
    };
    by_rows(&Attention::backward_rows);
    parallel(count * a_.heads, [&](long begin, long end) {
      for (long i = begin; i < end; ++i) {
        backward_head(r, i / a_.heads, static_cast<int>(i % a_.heads));
      }
    });
    by_rows(&Attention::backward_input);
    panel_products(t_, r.h_panels, hidden_panels(), r.dqkv_panels, qkv_panels(), r.rows, sums,
                   accumulate || b > 0);
    panel_products(t_, r.ds_panels, hidden_panels(), r.mixed_panels, width_panels(), r.rows, do_sum,
                   accumulate || b > 0);
  }
}

void Attention::unpack(const float* sums, float* dqkv, float* do_) const {
  long panel = hidden_panels() * kPanel * kPanel;
  unpack_panels_turned(sums, hidden_panels(), a_.hidden, 3L * a_.width(), dqkv);
  unpack_panels(sums + qkv_panels() * panel, hidden_panels(), a_.hidden, a_.width(), do_);
}

// Through the norm and o: ds, d(mixed); the projections again; panels of h, ds and mixed.
void Attention::backward_rows(const Round& r, long first_word, long words) const {
  Scratch scratch;
  long first = first_word * t_.per_word, whole = words * t_.per_word, width = a_.width();
  int n = static_cast<int>(std::min(whole, r.rows - first));
  long ld = hidden_panels() * kPanel, k = t_.words(a_.hidden);
  float* ds = scratch.floats(whole * ld);
  float* c = scratch.floats(n * kPanel);
  std::memset(ds, 0, whole * ld * sizeof(float));
  t_.k.norm_rows_backward(t_.at(r.dy, first * a_.hidden), t_.at(r.y, first * a_.hidden), a_.hidden,
                          r.inv + first, n, a_.hidden, ds, ld);
  void* ds_rows = t_.at(r.ds, first * a_.hidden);
  for (int m = 0; m < n; ++m) t_.k.narrow(ds + m * ld, t_.at(ds_rows, m * a_.hidden), a_.hidden);
  const void* h = t_.at(r.h, first * a_.hidden);
  project(h, n, t_.at(r.qkv, first * 3 * width));
  Rows ds_left = left_side(t_, {ds_rows, a_.hidden}, n, a_.hidden, scratch);
  for (long j = 0; j < width_panels(); ++j) {
    int columns = static_cast<int>(std::min<long>(kPanel, width - j * kPanel));
    multiply(t_, ds_left, n, o_back_ + j * k * kPanel, k, c, kPanel, columns);
    for (int m = 0; m < n; ++m) {
      t_.k.narrow(c + m * kPanel, t_.at(r.dmixed, (first + m) * width + j * kPanel), columns);
    }
  }
  const void** h_rows = row_pointers(t_, h, a_.hidden, n, whole, scratch);
  for (long j = 0; j < hidden_panels(); ++j) {
    int columns = static_cast<int>(std::min<long>(kPanel, a_.hidden - j * kPanel));
    long at = (j * r.words + first_word) * kPanel;
    t_.k.pack_columns(h_rows, whole, j * kPanel, columns, r.h_panels + at);
    t_.k.pack_block(ds + j * kPanel, ld, whole, r.ds_panels + at);
  }
  const void** mixed = row_pointers(t_, t_.at(r.mixed, first * width), width, n, whole, scratch);
  for (long j = 0; j < width_panels(); ++j) {
    int columns = static_cast<int>(std::min<long>(kPanel, width - j * kPanel));
    t_.k.pack_columns(mixed, whole, j * kPanel, columns,
                      r.mixed_panels + (j * r.words + first_word) * kPanel);
  }
}

// With p = softmax(q·k^T) and delta = sum(d(mixed)*mixed): dv = p^T·d(mixed), ds = p*(d(mixed)·v^T
// - delta), dq = ds·k, dk = ds^T·q. One pass over queries for each block of them.
void Attention::backward_head(const Round& r, long sample, int head) const {
  Scratch scratch;
  long tokens = a_.tokens, width = a_.width(), first_row = sample * tokens;
  Head in = open_head(t_.at(r.qkv, first_row * 3 * width), head, scratch);
  const void* mixed = t_.at(r.mixed, first_row * width + head * a_.head_dim);
  const void* dmixed = t_.at(r.dmixed, first_row * width + head * a_.head_dim);
  void* out = t_.at(r.dqkv, first_row * 3 * width + head * a_.head_dim);
  const float* log_sum = r.log_sum + (sample * a_.heads + head) * tokens;
  long words = t_.words(a_.head_dim), token_words = t_.words(tokens);
  long lds = token_panels() * kPanel, ld_head = head_panels() * kPanel;

  Word* values = scratch.floats(token_panels() * words * kPanel);  // as keys
  const void** v_rows = row_pointers(t_, in.v, in.ld_v, tokens, lds, scratch);
  for (long j = 0; j < token_panels(); ++j) {
    row_panel(t_, v_rows + j * kPanel, a_.head_dim, values + j * words * kPanel);
  }
  Word* keys = scratch.floats(head_panels() * token_words * kPanel);  // panels of head_dim
  const void** k_rows = row_pointers(t_, in.k, in.ld_k, tokens, tokens, scratch);
  for (long j = 0; j < head_panels(); ++j) {
    int columns = static_cast<int>(std::min<long>(kPanel, a_.head_dim - j * kPanel));
    column_panel(t_, k_rows, tokens, j * kPanel, columns, keys + j * token_words * kPanel);
  }

  long block = std::min(round_up(tokens, t_.per_word), kQueries);
  long block_words = t_.words(block), plain_words = t_.plain_words(block);
  float* s = scratch.floats(block * kPanel);
  float* dp = scratch.floats(block * kPanel);
  const long ld_ds = t_.room(lds);
  void* ds = scratch.bytes(block * ld_ds * t_.size);
  Word* p_panel = scratch.floats(plain_words * kPanel);
  Word* ds_panel = scratch.floats(plain_words * kPanel);
  long turned = odd_lines(t_.room_words(block));
  Word* p_turned = t_.k.turn ? scratch.floats(kPanel * turned) : nullptr;
  Word* ds_turned = t_.k.turn ? scratch.floats(kPanel * turned) : nullptr;
  Word* q_panels = scratch.floats(head_panels() * block_words * kPanel);
  Word* dmixed_panels = scratch.floats(head_panels() * block_words * kPanel);
  float* delta = scratch.floats(block);
  float* log_sums = scratch.floats(block);
  float* dq = scratch.floats(block * ld_head);
  float* dk = scratch.floats(lds * ld_head);
  float* dv = scratch.floats(lds * ld_head);
  long row_stride = t_.k.turn ? turned : 1, k_stride = t_.k.turn ? 1 : kPanel;  // of p, ds panels
  float scale = 1.0f / std::sqrt(static_cast<float>(a_.head_dim));
  int half = a_.head_dim / 2;
  auto put_rotated = [&](const float* from, long l, void* to) {
    if (cos_) {
      t_.k.rotate_back(from, cos_ + l * half, sin_ + l * half, half, to);
    } else {
      t_.k.narrow(from, to, a_.head_dim);
    }
  };

  for (long first = 0; first < tokens; first += block) {
    int n = static_cast<int>(std::min(block, tokens - first));
    int whole = static_cast<int>(round_up(n, t_.per_word));
    long n_words = t_.words(n);
    const void* q = t_.at(in.q, first * in.ld_q);
    const void* dm = t_.at(dmixed, first * width);
    t_.k.dot_rows(dm, t_.at(mixed, first * width), width, n, a_.head_dim, delta);
    std::copy_n(log_sum + first, n, log_sums);
    for (int m = n; m < whole; ++m) {  // the odd last row's partner: p is 0 to rounding, ds is 0
      delta[m] = 0, log_sums[m] = 1e4f;
      std::fill_n(s + m * kPanel, kPanel, 0.0f);
      std::fill_n(dp + m * kPanel, kPanel, 0.0f);
    }
    const void** q_rows = row_pointers(t_, q, in.ld_q, n, whole, scratch);
    const void** dm_rows = row_pointers(t_, dm, width, n, whole, scratch);
    for (long j = 0; j < head_panels(); ++j) {
      int columns = static_cast<int>(std::min<long>(kPanel, a_.head_dim - j * kPanel));
      column_panel(t_, q_rows, whole, j * kPanel, columns, q_panels + j * n_words * kPanel);
      column_panel(t_, dm_rows, whole, j * kPanel, columns, dmixed_panels + j * n_words * kPanel);
    }
    Scratch of_block;
    Rows queries = in.queries.from(t_, first);
    Rows dm_left = left_side(t_, {dm, width}, n, a_.head_dim, of_block);
    for (long i = 0; i < token_panels(); ++i) {
      int keys_here = static_cast<int>(std::min<long>(kPanel, tokens - i * kPanel));
      multiply(t_, queries, n, in.keys + i * words * kPanel, words, s, kPanel, kPanel);
      multiply(t_, dm_left, n, values + i * words * kPanel, words, dp, kPanel, kPanel);
      t_.k.softmax_backward(s, dp, whole, scale, log_sums, delta, p_panel, ds_panel,
                            t_.at(ds, i * kPanel), ld_ds);
      const Word *p_left = p_panel, *ds_left = ds_panel;
      if (t_.k.turn) {
        t_.k.turn(p_panel, t_.plain_words(n), p_turned, turned);
        t_.k.turn(ds_panel, t_.plain_words(n), ds_turned, turned);
        left_side(t_, p_turned, turned, keys_here, whole);
        left_side(t_, ds_turned, turned, keys_here, whole);
        p_left = p_turned, ds_left = ds_turned;
      }
      for (long j = 0; j < head_panels(); ++j) {
        int columns = static_cast<int>(std::min<long>(kPanel, a_.head_dim - j * kPanel));
        long at = i * kPanel * ld_head + j * kPanel;
        t_.k.gemm(p_left, row_stride, k_stride, keys_here, dmixed_panels + j * n_words * kPanel,
                  n_words, dv + at, ld_head, columns, first > 0);
        t_.k.gemm(ds_left, row_stride, k_stride, keys_here, q_panels + j * n_words * kPanel,
                  n_words, dk + at, ld_head, columns, first > 0);
      }
    }
    if (tokens % t_.per_word) {  // the odd last token's partner
      for (int m = 0; m < n; ++m) std::memset(t_.at(ds, m * ld_ds + tokens), 0, t_.size);
    }
    Rows ds_rows = left_side(t_, ds, ld_ds, n, tokens);
    for (long j = 0; j < head_panels(); ++j) {
      int columns = static_cast<int>(std::min<long>(kPanel, a_.head_dim - j * kPanel));
      multiply(t_, ds_rows, n, keys + j * token_words * kPanel, token_words, dq + j * kPanel,
               ld_head, columns);
    }
    for (int m = 0; m < n; ++m) {
      put_rotated(dq + m * ld_head, first + m, t_.at(out, (first + m) * 3 * width));
    }
  }
  for (long l = 0; l < tokens; ++l) {
    put_rotated(dk + l * ld_head, l, t_.at(out, l * 3 * width + width));
    t_.k.narrow(dv + l * ld_head, t_.at(out, l * 3 * width + 2 * width), a_.head_dim);
  }
}

// dh = ds + d(qkv)·qkv, and panels of d(qkv).
void Attention::backward_input(const Round& r, long first_word, long words) const {
  Scratch scratch;
  long first = first_word * t_.per_word, whole = words * t_.per_word, ld = 3 * a_.width();
  int n = static_cast<int>(std::min(whole, r.rows - first));
  long k = t_.words(ld);
  float* c = scratch.floats(n * kPanel);
  const void* dqkv = t_.at(r.dqkv, first * ld);
  const void** rows = row_pointers(t_, dqkv, ld, n, whole, scratch);
  for (long j = 0; j < qkv_panels(); ++j) {
    int columns = static_cast<int>(std::min<long>(kPanel, ld - j * kPanel));
    t_.k.pack_columns(rows, whole, j * kPanel, columns,
                      r.dqkv_panels + (j * r.words + first_word) * kPanel);
  }
  Rows left = left_side(t_, {dqkv, ld}, n, ld, scratch);
  for (long j = 0; j < hidden_panels(); ++j) {
    int columns = static_cast<int>(std::min<long>(kPanel, a_.hidden - j * kPanel));
    long at = first * a_.hidden + j * kPanel;
    multiply(t_, left, n, qkv_back_ + j * k * kPanel, k, c, kPanel, columns);
    t_.k.add_residual(c, t_.at(r.ds, at), a_.hidden, n, columns, c, kPanel);
    for (int m = 0; m < n; ++m) {
      t_.k.narrow(c + m * kPanel, t_.at(r.dh, at + m * a_.hidden), columns);
    }
  }
}

}  // namespace trm::ops::cpu
