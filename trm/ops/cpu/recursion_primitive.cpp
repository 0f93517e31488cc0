#include <algorithm>
#include <cstring>

#include "trm/ops/cpu/cpu.h"
#include "trm/ops/cpu/primitive.h"
#include "trm/ops/cpu/recursion.h"

namespace trm::ops::cpu {

bool takes(const mx::array& z_H, const mx::array& z_L, const mx::array& x, const Network& network) {
  auto fits = [&](const mx::array& a) {
    return takes(a) && a.ndim() == 3 && a.shape() == x.shape() && a.dtype() == x.dtype() &&
           !a.is_tracer();
  };
  if (!fits(x) || !fits(z_H) || !fits(z_L)) return false;
  return std::all_of(network.layers.begin(), network.layers.end(), [&](auto& layer) {
    bool traced = layer.mix_in.is_tracer() || layer.mix_out.is_tracer() ||
                  layer.gate_up.is_tracer() || layer.down.is_tracer();
    return !traced && (network.mixes_tokens || takes_heads(layer.mix_out.shape(1) / network.heads));
  });
}

namespace {

class RecursionPrimitive : public CpuPrimitive {
 public:
  RecursionPrimitive(const Network& network, int cycles, int L_cycles)
      : mixes_tokens_(network.mixes_tokens),
        rotary_(network.rotary != nullptr),
        heads_(network.heads),
        cycles_(cycles),
        L_cycles_(L_cycles),
        eps_(network.eps) {}
  const char* name() const override { return "TrmRecursion"; }

  // {z_H, z_L, x, cos, sin, then mix_in, mix_out, gate_up, down of each layer} -> {z_H, z_L}
  void eval_cpu(const Arrays& in, Arrays& out) override {
    allocate(out);
    const auto& x = in[2];
    int L = x.shape(1), D = x.shape(2);
    Type type(x.dtype() == mx::bfloat16);
    std::vector<Layer> layers;
    std::vector<const float*> weights;
    for (size_t i = 5; i < in.size(); i += 4) {
      Layer layer{{}, {}, FeedForward(type, D, in[i + 3].shape(1), eps_)};
      int inner = in[i + 1].shape(1);  // or the heads' width
      if (mixes_tokens_) {
        layer.tokens.emplace(type, L, D, inner, eps_);
      } else {
        layer.attention.emplace(type, AttentionShape{L, D, heads_, inner / heads_},
                                rotary_ ? in[3].data<float>() : nullptr,
                                rotary_ ? in[4].data<float>() : nullptr, eps_);
      }
      layers.push_back(layer);
      for (size_t j = i; j < i + 4; ++j) weights.push_back(in[j].data<float>());
    }
    mx::cpu::get_command_encoder(stream()).dispatch(
        [type, L, D, layers, weights, z_H = in[0].data<void>(), z_L = in[1].data<void>(),
         x = in[2].data<void>(), batch = x.shape(0), bytes = x.nbytes(),
         out_H = out[0].data<void>(), out_L = out[1].data<void>(), cycles = cycles_,
         L_cycles = L_cycles_]() mutable {
          Scratch scratch;
          for (size_t i = 0; i < layers.size(); ++i) {
            const float* const* w = &weights[4 * i];
            if (layers[i].tokens) {
              layers[i].tokens->pack_forward(w[0], w[1], scratch);
            } else {
              layers[i].attention->pack_forward(w[0], w[1], scratch);
            }
            layers[i].channels.pack_forward(w[2], w[3], scratch);
          }
          std::memcpy(out_H, z_H, bytes);
          std::memcpy(out_L, z_L, bytes);
          Recursion(type, L, D, std::move(layers)).run(out_H, out_L, x, batch, cycles, L_cycles);
        });
  }

 private:
  bool mixes_tokens_, rotary_;
  int heads_, cycles_, L_cycles_;
  float eps_;
};

}  // namespace

Arrays recursion(const mx::array& z_H, const mx::array& z_L, const mx::array& x,
                 const Network& network, int cycles, int L_cycles) {
  mx::array none(0.0f);
  Arrays in{mx::contiguous(z_H), mx::contiguous(z_L), mx::contiguous(x),
            network.rotary ? floats(network.rotary->cos) : none,
            network.rotary ? floats(network.rotary->sin) : none};
  for (auto& layer : network.layers) {
    for (auto* w : {&layer.mix_in, &layer.mix_out, &layer.gate_up, &layer.down}) {
      in.push_back(floats(*w));
    }
  }
  return mx::array::make_arrays({x.shape(), x.shape()}, {x.dtype(), x.dtype()},
                                std::make_shared<RecursionPrimitive>(network, cycles, L_cycles),
                                in);
}

}  // namespace trm::ops::cpu
