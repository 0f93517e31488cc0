#include "trm/ops/cpu/cycle.h"

#include <cstring>

namespace trm::ops::cpu {

size_t Cycle::lay_out(void* kept, long batch, Application* out) const {
  const long rows = batch * tokens_, numbers = rows * hidden_;
  char* at = static_cast<char*>(kept);
  size_t used = 0;
  auto take = [&](long n, long size) -> void* {
    void* p = at ? at + used : nullptr;
    used += round_up(n * size, 64);
    return p;
  };
  auto floats = [&](long n) { return static_cast<float*>(take(n, sizeof(float))); };
  void* in = take(numbers, t_.size);
  if (out) *out = {in, {}};
  for (const auto& layer : layers_) {
    OfLayer o{};
    o.middle = take(numbers, t_.size);
    o.out = take(numbers, t_.size);
    if (layer.keeps_gates()) o.gates = take(layer.channels.gates_size(rows), t_.size);
    o.middle_inv = floats(layer.tokens ? batch * hidden_ : rows);
    o.inv = floats(rows);
    if (layer.attention) {
      o.mixed = take(rows * layer.attention->shape().width(), t_.size);
      o.log_sum = floats(rows * layer.attention->shape().heads);
    }
    if (out) out->layers.push_back(o);
  }
  return used;
}

size_t Cycle::kept_bytes(long batch) const { return lay_out(nullptr, batch, nullptr); }

Cycle::Application Cycle::application(void* kept, long batch, int index) const {
  Application a;
  lay_out(static_cast<char*>(kept) + index * kept_bytes(batch), batch, &a);
  return a;
}

void Cycle::add(const void* a, const void* b, const void* c, long batch, void* out) const {
  parallel(batch * tokens_, [&](long begin, long end) {
    long at = begin * hidden_;
    t_.k.add(t_.at(a, at), t_.at(b, at), c ? t_.at(c, at) : nullptr, (end - begin) * hidden_,
             t_.at(out, at));
  });
}

void Cycle::network(const Application& a, long batch) const {
  const void* h = a.in;
  for (size_t i = 0; i < layers_.size(); ++i) {
    const auto& layer = layers_[i];
    const auto& o = a.layers[i];
    if (layer.tokens) {
      layer.tokens->forward(h, batch, o.middle, o.middle_inv);
    } else {
      layer.attention->forward(h, batch, o.middle, o.mixed, o.middle_inv, o.log_sum);
    }
    layer.channels.forward(o.middle, batch * tokens_, o.out, o.inv, o.gates);
    h = o.out;
  }
}

void Cycle::forward(const void* z_H, const void* z_L, const void* x, long batch, void* kept,
                    void* out_H, void* out_L) const {
  const size_t bytes = batch * tokens_ * static_cast<long>(hidden_) * t_.size;
  for (int i = 0; i < L_cycles_; ++i) {
    auto a = application(kept, batch, i);
    add(z_L, z_H, x, batch, a.in);
    network(a, batch);
    z_L = a.layers.back().out;
  }
  auto last = application(kept, batch, L_cycles_);
  add(z_H, z_L, nullptr, batch, last.in);
  network(last, batch);
  std::memcpy(out_L, z_L, bytes);
  std::memcpy(out_H, last.layers.back().out, bytes);
}

long Cycle::mixing_sums(const Layer& layer) const {
  return layer.tokens ? layer.tokens->sums_size() : layer.attention->sums_size();
}

// d: from the gradient of the network's result to that of its input. sums: of each layer those of
// its mixing, then those of its feed-forward.
void Cycle::network_backward(const Application& a, long batch, void* d, float* sums,
                             bool accumulate) const {
  for (const auto& layer : layers_) sums += mixing_sums(layer) + layer.channels.sums_size();
  for (size_t i = layers_.size(); i-- > 0;) {
    const auto& layer = layers_[i];
    const auto& o = a.layers[i];
    sums -= layer.channels.sums_size();
    layer.channels.backward(o.middle, o.out, o.inv, o.gates, d, batch * tokens_, d, sums,
                            accumulate);
    const void* h = i > 0 ? a.layers[i - 1].out : a.in;
    sums -= mixing_sums(layer);
    if (layer.tokens) {
      layer.tokens->backward(h, o.middle, o.middle_inv, d, batch, d, sums, accumulate);
    } else {
      layer.attention->backward(h, o.middle, o.mixed, o.middle_inv, o.log_sum, d, batch, d, sums,
                                accumulate);
    }
  }
}

void Cycle::backward(void* kept, long batch, void* d_H, void* d_L, void* dx,
                     const std::vector<float*>& weights) const {
  Scratch scratch;
  long size = 0;
  for (const auto& layer : layers_) size += mixing_sums(layer) + layer.channels.sums_size();
  float* sums = scratch.floats(size);
  network_backward(application(kept, batch, L_cycles_), batch, d_H, sums, false);
  add(d_L, d_H, nullptr, batch, d_L);
  std::memset(dx, 0, batch * tokens_ * static_cast<long>(hidden_) * t_.size);
  for (int i = L_cycles_ - 1; i >= 0; --i) {
    network_backward(application(kept, batch, i), batch, d_L, sums, true);
    add(d_H, d_L, nullptr, batch, d_H);
    add(dx, d_L, nullptr, batch, dx);
  }
  for (size_t i = 0; i < layers_.size(); ++i) {
    const auto& layer = layers_[i];
    float* const* w = &weights[4 * i];
    if (layer.tokens) {
      layer.tokens->unpack(sums, w[0], w[1]);
    } else {
      layer.attention->unpack(sums, w[0], w[1]);
    }
    sums += mixing_sums(layer);
    layer.channels.unpack(sums, w[2], w[3]);
    sums += layer.channels.sums_size();
  }
}

}  // namespace trm::ops::cpu
