#include "trm/ops/cpu/attention.h"

#include <cmath>

namespace trm::ops::cpu {
namespace {
constexpr long kQueries = 112;  // queries of one pass over keys and values, even
}  // namespace

void Attention::pack_forward(const float* qkv, const float* o, Scratch& scratch) {
  int width = a_.width();
  qkv_ = pack_rows(t_, narrow_rows(t_, qkv, 3 * width, a_.hidden, scratch), 3 * width, a_.hidden,
                   scratch);
  o_ = pack_rows(t_, narrow_rows(t_, o, a_.hidden, width, scratch), a_.hidden, width, scratch);
}

void Attention::forward(const void* h, long batch, void* y, void* mixed, float* inv,
                        float* log_sum) const {
  Scratch scratch;
  long rows = batch * a_.tokens, width = a_.width(),
       blocks = round_up(ceil_div(rows, t_.k.pass_rows), threads());
  void* qkv = scratch.bytes(rows * 3 * width * t_.size);
  parallel(blocks, [&](long begin, long end) {
    long first = rows * begin / blocks, last = rows * end / blocks;
    project(t_.at(h, first * a_.hidden), last - first, t_.at(qkv, first * 3 * width));
  });
  parallel(batch * a_.heads, [&](long begin, long end) {
    for (long i = begin; i < end; ++i) {
      long at = i / a_.heads * a_.tokens * width;
      mix_head(t_.at(qkv, 3 * at), static_cast<int>(i % a_.heads), t_.at(mixed, at),
               log_sum + i * a_.tokens);
    }
  });
  parallel(blocks, [&](long begin, long end) {
    long first = rows * begin / blocks, last = rows * end / blocks;
    output(t_.at(h, first * a_.hidden), t_.at(mixed, first * width), last - first,
           t_.at(y, first * a_.hidden), inv + first);
  });
}

void Attention::forward_sample(const void* h, void* y, float* inv) const {
  Scratch scratch;
  long width = a_.width();
  void* qkv = scratch.bytes(a_.tokens * 3 * width * t_.size);
  void* mixed = scratch.bytes(a_.tokens * width * t_.size);
  float* log_sum = scratch.floats(a_.tokens);
  project(h, a_.tokens, qkv);
  for (int head = 0; head < a_.heads; ++head) mix_head(qkv, head, mixed, log_sum);
  output(h, mixed, a_.tokens, y, inv);
}

void Attention::project(const void* h, long rows, void* qkv) const {
  Scratch scratch;
  long k = t_.words(a_.hidden), ld = 3 * a_.width();
  float* c = scratch.floats(std::min(rows, t_.k.pass_rows) * kPanel);
  for (long first = 0; first < rows; first += t_.k.pass_rows) {
    int n = static_cast<int>(std::min(t_.k.pass_rows, rows - first));
    Scratch of_block;
    Rows left = left_side(t_, {t_.at(h, first * a_.hidden), a_.hidden}, n, a_.hidden, of_block);
    for (long j = 0; j < qkv_panels(); ++j) {
      int width = static_cast<int>(std::min<long>(kPanel, ld - j * kPanel));
      multiply(t_, left, n, qkv_ + j * k * kPanel, k, c, kPanel, width);
      for (int m = 0; m < n; ++m) {
        t_.k.narrow(c + m * kPanel, t_.at(qkv, (first + m) * ld + j * kPanel), width);
      }
    }
  }
}

Attention::Head Attention::open_head(const void* qkv, int head, Scratch& scratch) const {
  long ld = 3 * a_.width(), at = head * a_.head_dim;
  Head out{
      t_.at(qkv, at), t_.at(qkv, a_.width() + at), t_.at(qkv, 2 * a_.width() + at), ld, ld, ld, {},
      nullptr};
  if (cos_) {
    int half = a_.head_dim / 2;
    void* q = scratch.bytes(a_.tokens * a_.head_dim * t_.size);
    void* k = scratch.bytes(a_.tokens * a_.head_dim * t_.size);
    for (long l = 0; l < a_.tokens; ++l) {
      const float *cos = cos_ + l * half, *sin = sin_ + l * half;
      t_.k.rotate(t_.at(out.q, l * ld), cos, sin, half, t_.at(q, l * a_.head_dim));
      t_.k.rotate(t_.at(out.k, l * ld), cos, sin, half, t_.at(k, l * a_.head_dim));
    }
    out.q = q, out.k = k;
    out.ld_q = out.ld_k = a_.head_dim;
  }
  out.queries = left_side(t_, {out.q, out.ld_q}, a_.tokens, a_.head_dim, scratch);
  long words = t_.words(a_.head_dim);
  Word* keys = scratch.floats(token_panels() * words * kPanel);
  const void** rows =
      row_pointers(t_, out.k, out.ld_k, a_.tokens, token_panels() * kPanel, scratch);
  for (long j = 0; j < token_panels(); ++j) {
    row_panel(t_, rows + j * kPanel, a_.head_dim, keys + j * words * kPanel);
  }
  out.keys = keys;
  return out;
}

void Attention::mix_head(const void* qkv, int head, void* mixed, float* log_sum) const {
  Scratch scratch;
  Head in = open_head(qkv, head, scratch);
  long words = t_.words(a_.head_dim), token_words = t_.words(a_.tokens);
  long lds = token_panels() * kPanel, ldp = t_.room(a_.tokens);
  Word* values = scratch.floats(head_panels() * token_words * kPanel);
  const void** rows = row_pointers(t_, in.v, in.ld_v, a_.tokens, a_.tokens, scratch);
  for (long j = 0; j < head_panels(); ++j) {
    int width = static_cast<int>(std::min<long>(kPanel, a_.head_dim - j * kPanel));
    column_panel(t_, rows, a_.tokens, j * kPanel, width, values + j * token_words * kPanel);
  }
  long block = std::min<long>(kQueries, a_.tokens);
  float* s = scratch.floats(block * lds);
  void* p = scratch.bytes(block * ldp * t_.size);
  float* inv_sum = scratch.floats(block);
  float* c = scratch.floats(block * kPanel);
  float scale = 1.0f / std::sqrt(static_cast<float>(a_.head_dim));
  for (long first = 0; first < a_.tokens; first += block) {
    int n = static_cast<int>(std::min(block, a_.tokens - first));
    Rows q = in.queries.from(t_, first);
    for (long j = 0; j < token_panels(); ++j) {
      int width = static_cast<int>(std::min<long>(kPanel, a_.tokens - j * kPanel));
      multiply(t_, q, n, in.keys + j * words * kPanel, words, s + j * kPanel, lds, width);
    }
    t_.k.softmax_rows(s, lds, n, a_.tokens, scale, p, ldp, inv_sum, log_sum + first);
    Rows shares = left_side(t_, p, ldp, n, a_.tokens);
    for (long j = 0; j < head_panels(); ++j) {
      int width = static_cast<int>(std::min<long>(kPanel, a_.head_dim - j * kPanel));
      multiply(t_, shares, n, values + j * token_words * kPanel, token_words, c, kPanel, width);
      t_.k.scale_rows(c, inv_sum, n, width,
                      t_.at(mixed, first * a_.width() + head * a_.head_dim + j * kPanel),
                      a_.width());
    }
  }
}

void Attention::output(const void* h, const void* mixed, long rows, void* y, float* inv) const {
  Scratch scratch;
  long k = t_.words(a_.width()), ld_s = hidden_panels() * kPanel,
       block = std::min(rows, t_.k.pass_rows);
  float* c = scratch.floats(block * kPanel);
  float* s = scratch.floats(block * ld_s);
  for (long first = 0; first < rows; first += block) {
    int n = static_cast<int>(std::min(block, rows - first));
    Scratch of_block;
    Rows left =
        left_side(t_, {t_.at(mixed, first * a_.width()), a_.width()}, n, a_.width(), of_block);
    for (long j = 0; j < hidden_panels(); ++j) {
      int width = static_cast<int>(std::min<long>(kPanel, a_.hidden - j * kPanel));
      multiply(t_, left, n, o_ + j * k * kPanel, k, c, kPanel, width);
      t_.k.add_residual(c, t_.at(h, first * a_.hidden + j * kPanel), a_.hidden, n, width,
                        s + j * kPanel, ld_s);
    }
    t_.k.norm_rows(s, ld_s, n, a_.hidden, eps_, t_.at(y, first * a_.hidden), a_.hidden,
                   inv + first);
  }
}

}  // namespace trm::ops::cpu
