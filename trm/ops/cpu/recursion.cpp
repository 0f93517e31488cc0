#include "trm/ops/cpu/recursion.h"

namespace trm::ops::cpu {

void Layer::pack_forward(const float* const* weights, Scratch& scratch) {
  if (tokens) tokens->pack_forward(weights[0], weights[1], scratch);
  if (attention) attention->pack_forward(weights[0], weights[1], scratch);
  channels.pack_forward(weights[2], weights[3], scratch);
}

void Layer::pack_backward(const float* const* weights, Scratch& scratch) {
  if (tokens) tokens->pack_backward(weights[0], weights[1], scratch);
  if (attention) attention->pack_backward(weights[0], weights[1], scratch);
  channels.pack_backward(weights[2], weights[3], keeps_gates(), scratch);
}

void Recursion::run(void* z_H, void* z_L, const void* x, long batch, int cycles,
                    int L_cycles) const {
  // A thread takes whole samples where that keeps all threads busy to the end.
  bool even = batch % threads() == 0 || batch >= 8L * threads();
  if (!even) return run_together(z_H, z_L, x, batch, cycles, L_cycles);
  // As many at once as make one pass over packed weights and leave every thread some.
  long most = std::clamp(t_.k.pass_rows / tokens_, 1L, std::max(1L, batch / threads()));
  parallel(ceil_div(batch, most), [&](long begin, long end) {
    for (long b = begin * most; b < std::min(end * most, batch); b += most) {
      run_samples(t_.at(z_H, b * sample()), t_.at(z_L, b * sample()), t_.at(x, b * sample()),
                  std::min(most, batch - b), cycles, L_cycles);
    }
  });
}

void Recursion::run_samples(void* z_H, void* z_L, const void* x, long count, int cycles,
                            int L_cycles) const {
  Scratch scratch;
  float* inv = scratch.floats(std::max(count * tokens_, static_cast<long>(hidden_)));
  // The network works in place: every operation reads a block of h before it writes it.
  auto net = [&](void* h) {
    for (const auto& layer : layers_) {
      for (long b = 0; b < count; ++b) {
        void* one = t_.at(h, b * sample());
        if (layer.attention) layer.attention->forward_sample(one, one, inv);
        for (long p = 0; layer.tokens && p < layer.tokens->panels(); ++p) {
          layer.tokens->forward_panel(one, p, one, inv);
        }
      }
      layer.channels.forward_rows(h, count * tokens_, h, inv);
    }
  };
  for (int c = 0; c < cycles; ++c) {
    for (int i = 0; i < L_cycles; ++i) {
      t_.k.add(z_L, z_H, x, count * sample(), z_L);
      net(z_L);
    }
    t_.k.add(z_H, z_L, nullptr, count * sample(), z_H);
    net(z_H);
  }
}

void Recursion::run_together(void* z_H, void* z_L, const void* x, long batch, int cycles,
                             int L_cycles) const {
  Scratch scratch;
  long rows = batch * tokens_;
  float* inv = scratch.floats(batch * std::max(tokens_, hidden_));
  long width = 0, sums = 0;
  for (const auto& layer : layers_) {
    if (!layer.attention) continue;
    width = std::max<long>(width, layer.attention->shape().width());
    sums = std::max<long>(sums, layer.attention->shape().heads * rows);
  }
  void* mixed = scratch.bytes(rows * width * t_.size);
  float* log_sum = scratch.floats(sums);
  auto add = [&](void* h, const void* b, const void* c) {
    parallel(rows, [&](long begin, long end) {
      long at = begin * hidden_;
      t_.k.add(t_.at(h, at), t_.at(b, at), c ? t_.at(c, at) : nullptr, (end - begin) * hidden_,
               t_.at(h, at));
    });
  };
  auto net = [&](void* h) {
    for (const auto& layer : layers_) {
      if (layer.tokens) {
        layer.tokens->forward(h, batch, h, inv);
      } else {
        layer.attention->forward(h, batch, h, mixed, inv, log_sum);
      }
      layer.channels.forward(h, rows, h, inv, nullptr);
    }
  };
  for (int c = 0; c < cycles; ++c) {
    for (int i = 0; i < L_cycles; ++i) {
      add(z_L, z_H, x);
      net(z_L);
    }
    add(z_H, z_L, nullptr);
    net(z_H);
  }
}

}  // namespace trm::ops::cpu
