#include <algorithm>
#include <cstring>
#include <mutex>
#include <optional>

#include "trm/ops/cpu/cpu.h"
#include "trm/ops/cpu/cycle.h"
#include "trm/ops/cpu/primitive.h"
#include "trm/ops/cpu/recursion.h"

namespace trm::ops::cpu {
namespace {

bool traced(const Network& network) {
  return std::any_of(network.layers.begin(), network.layers.end(), [](auto& layer) {
    return layer.mix_in.is_tracer() || layer.mix_out.is_tracer() || layer.gate_up.is_tracer() ||
           layer.down.is_tracer();
  });
}

}  // namespace

bool takes(const mx::array& z_H, const mx::array& z_L, const mx::array& x, const Network& network,
           int cycles) {
  auto fits = [&](const mx::array& a) {
    return takes(a) && a.ndim() == 3 && a.shape() == x.shape() && a.dtype() == x.dtype();
  };
  if (!fits(x) || !fits(z_H) || !fits(z_L)) return false;
  bool gradient = x.is_tracer() || z_H.is_tracer() || z_L.is_tracer() || traced(network);
  if (gradient && cycles != 1) return false;
  return std::all_of(network.layers.begin(), network.layers.end(), [&](auto& layer) {
    return network.mixes_tokens || takes_heads(layer.mix_out.shape(1) / network.heads);
  });
}

namespace {

constexpr size_t kFirstWeight = 5;

// What the primitives know of a network; its weights are the last inputs, four of each layer.
struct Shape {
  bool mixes_tokens, rotary;
  int heads, L_cycles;
  float eps;

  explicit Shape(const Network& network, int L_cycles)
      : mixes_tokens(network.mixes_tokens),
        rotary(network.rotary != nullptr),
        heads(network.heads),
        L_cycles(L_cycles),
        eps(network.eps) {}

  // Of these inputs; cos and sin may be null where nothing is to be computed.
  std::vector<Layer> layers(const Type& type, int L, int D, const float* cos, const float* sin,
                            const Arrays& in) const {
    std::vector<Layer> out;
    for (size_t i = kFirstWeight; i < in.size(); i += 4) {
      Layer layer{{}, {}, FeedForward(type, D, in[i + 3].shape(1), eps)};
      int inner = in[i + 1].shape(1);  // or the heads' width
      if (mixes_tokens) {
        layer.tokens.emplace(type, L, D, inner, eps);
      } else {
        layer.attention.emplace(type, AttentionShape{L, D, heads, inner / heads},
                                rotary ? cos : nullptr, rotary ? sin : nullptr, eps);
      }
      out.push_back(layer);
    }
    return out;
  }
};

std::vector<const float*> weights_of(const Arrays& in) {
  std::vector<const float*> out;
  for (size_t i = kFirstWeight; i < in.size(); ++i) out.push_back(in[i].data<float>());
  return out;
}

class RecursionPrimitive : public CpuPrimitive {
 public:
  RecursionPrimitive(const Shape& shape, int cycles) : shape_(shape), cycles_(cycles) {}
  const char* name() const override { return "TrmRecursion"; }

  // {z_H, z_L, x, cos, sin, then mix_in, mix_out, gate_up, down of each layer} -> {z_H, z_L}
  void eval_cpu(const Arrays& in, Arrays& out) override {
    allocate(out);
    const auto& x = in[2];
    int L = x.shape(1), D = x.shape(2);
    Type type(x.dtype() == mx::bfloat16);
    mx::cpu::get_command_encoder(stream()).dispatch(
        [type, L, D,
         layers = shape_.layers(type, L, D, in[3].data<float>(), in[4].data<float>(), in),
         weights = weights_of(in), z_H = in[0].data<void>(), z_L = in[1].data<void>(),
         x = in[2].data<void>(), batch = x.shape(0), bytes = x.nbytes(),
         out_H = out[0].data<void>(), out_L = out[1].data<void>(), cycles = cycles_,
         L_cycles = shape_.L_cycles]() mutable {
          Scratch scratch;
          for (size_t i = 0; i < layers.size(); ++i) {
            layers[i].pack_forward(&weights[4 * i], scratch);
          }
          std::memcpy(out_H, z_H, bytes);
          std::memcpy(out_L, z_L, bytes);
          Recursion(type, L, D, std::move(layers)).run(out_H, out_L, x, batch, cycles, L_cycles);
        });
  }

 private:
  Shape shape_;
  int cycles_;
};

class CycleGradient : public CpuPrimitive {
 public:
  explicit CycleGradient(const Shape& shape) : shape_(shape) {}
  const char* name() const override { return "TrmCycleGradient"; }

  // {kept, dz_H, dz_L, cos, sin, weights…} -> {dz_H, dz_L, dx, gradients of the weights…}
  void eval_cpu(const Arrays& in, Arrays& out) override {
    allocate(out);
    int L = in[1].shape(1), D = in[1].shape(2);
    Type type(in[1].dtype() == mx::bfloat16);
    std::vector<float*> gradients;
    for (size_t i = 3; i < out.size(); ++i) gradients.push_back(out[i].data<float>());
    mx::cpu::get_command_encoder(stream()).dispatch(
        [type, L, D,
         layers = shape_.layers(type, L, D, in[3].data<float>(), in[4].data<float>(), in),
         weights = weights_of(in), gradients, kept = const_cast<void*>(in[0].data<void>()),
         dz_H = in[1].data<void>(), dz_L = in[2].data<void>(), batch = in[1].shape(0),
         bytes = in[1].nbytes(), out_H = out[0].data<void>(), out_L = out[1].data<void>(),
         dx = out[2].data<void>(), L_cycles = shape_.L_cycles]() mutable {
          Scratch scratch;
          for (size_t i = 0; i < layers.size(); ++i) {
            layers[i].pack_backward(&weights[4 * i], scratch);
          }
          std::memcpy(out_H, dz_H, bytes);
          std::memcpy(out_L, dz_L, bytes);
          Cycle(type, L, D, L_cycles, std::move(layers))
              .backward(kept, batch, out_H, out_L, dx, gradients);
        });
  }

 private:
  Shape shape_;
};

// Memory for what a cycle keeps. One piece of it stays for the next step: the system would clear
// fresh pages, which takes about 4 % of a step.
class Spare {
 public:
  mx::allocator::Data take(size_t bytes) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (buffer_ && bytes_ != bytes) drop();
    if (!buffer_) {
      buffer_ = mx::allocator::allocator().malloc(bytes);
      prefer_large_pages(buffer_->raw_ptr(), bytes);
    }
    return {*std::exchange(buffer_, std::nullopt),
            [this, bytes](mx::allocator::Buffer old) { give_back(old, bytes); }};
  }
  void release() {
    std::lock_guard<std::mutex> lock(mutex_);
    drop();
  }

 private:
  void give_back(mx::allocator::Buffer old, size_t bytes) {
    std::lock_guard<std::mutex> lock(mutex_);
    drop();
    buffer_ = old, bytes_ = bytes;
  }
  void drop() {
    if (buffer_) mx::allocator::allocator().free(*buffer_);
    buffer_.reset();
  }

  std::mutex mutex_;
  std::optional<mx::allocator::Buffer> buffer_;
  size_t bytes_ = 0;
};

Spare& spare() {
  static auto* value = new Spare;  // never destroyed: arrays may outlive it
  return *value;
}

class CyclePrimitive : public CpuPrimitive {
 public:
  explicit CyclePrimitive(const Shape& shape) : shape_(shape) {}
  const char* name() const override { return "TrmCycle"; }

  // As RecursionPrimitive -> {z_H, z_L, kept: bytes}
  void eval_cpu(const Arrays& in, Arrays& out) override {
    for (int i : {0, 1}) out[i].set_data(mx::allocator::malloc(out[i].nbytes()));
    out[2].set_data(spare().take(out[2].nbytes()));
    const auto& x = in[2];
    int L = x.shape(1), D = x.shape(2);
    Type type(x.dtype() == mx::bfloat16);
    mx::cpu::get_command_encoder(stream()).dispatch(
        [type, L, D,
         layers = shape_.layers(type, L, D, in[3].data<float>(), in[4].data<float>(), in),
         weights = weights_of(in), z_H = in[0].data<void>(), z_L = in[1].data<void>(),
         x = in[2].data<void>(), batch = x.shape(0), out_H = out[0].data<void>(),
         out_L = out[1].data<void>(), kept = out[2].data<void>(),
         L_cycles = shape_.L_cycles]() mutable {
          Scratch scratch;
          for (size_t i = 0; i < layers.size(); ++i) {
            layers[i].pack_forward(&weights[4 * i], scratch);
          }
          Cycle(type, L, D, L_cycles, std::move(layers))
              .forward(z_H, z_L, x, batch, kept, out_H, out_L);
        });
  }

  Arrays vjp(const Arrays& primals, const Arrays& cotangents, const std::vector<int>& argnums,
             const Arrays& outputs) override {
    std::vector<mx::Shape> shapes;
    std::vector<mx::Dtype> dtypes;
    Arrays in{outputs[2], mx::contiguous(cotangents[0]), mx::contiguous(cotangents[1])};
    for (size_t i = 0; i < primals.size(); ++i) {
      if (i >= 3) in.push_back(primals[i]);
      if (i == 3 || i == 4) continue;
      shapes.push_back(primals[i].shape());
      dtypes.push_back(primals[i].dtype());
    }
    auto all = mx::array::make_arrays(shapes, dtypes, std::make_shared<CycleGradient>(shape_), in);
    Arrays out;
    for (int i : argnums) {
      bool table = i == 3 || i == 4;
      out.push_back(table ? mx::zeros_like(primals[i]) : all[i < 3 ? i : i - 2]);
    }
    return out;
  }

 private:
  Shape shape_;
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
  Shape shape(network, L_cycles);
  bool gradient = x.is_tracer() || z_H.is_tracer() || z_L.is_tracer() || traced(network);
  if (!gradient) {
    return mx::array::make_arrays({x.shape(), x.shape()}, {x.dtype(), x.dtype()},
                                  std::make_shared<RecursionPrimitive>(shape, cycles), in);
  }
  Type type(x.dtype() == mx::bfloat16);
  Cycle cycle(type, x.shape(1), x.shape(2), L_cycles,
              shape.layers(type, x.shape(1), x.shape(2), nullptr, nullptr, in));
  constexpr int line = 64;  // a shape counts in ints
  auto lines = static_cast<int>(cycle.kept_bytes(x.shape(0)) / line);
  auto out = mx::array::make_arrays({x.shape(), x.shape(), {cycle.applications(), lines, line}},
                                    {x.dtype(), x.dtype(), mx::uint8},
                                    std::make_shared<CyclePrimitive>(shape), in);
  return {out[0], out[1]};
}

}  // namespace trm::ops::cpu

void trm::ops::release_memory() { cpu::spare().release(); }
