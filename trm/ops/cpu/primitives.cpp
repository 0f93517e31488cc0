#include "trm/ops/cpu/attention.h"
#include "trm/ops/cpu/cpu.h"
#include "trm/ops/cpu/feed_forward.h"
#include "trm/ops/cpu/primitive.h"
#include "trm/ops/cpu/token_mixing.h"

namespace trm::ops::cpu {

bool takes(const mx::array& h) {
  return mx::default_device() == mx::Device::cpu && h.size() > 0 && h.ndim() > 0 &&
         (h.dtype() == mx::float32 || (h.dtype() == mx::bfloat16 && h.shape(-1) % 2 == 0));
}

namespace {

enum class Axis { channels, tokens };

// What both mixings share. h (B, L, D); gate_up (2I, n), down (n, I), n the mixed axis.
struct Mixing {
  Axis axis;
  float eps;

  static Type type(const mx::array& h) { return Type(h.dtype() == mx::bfloat16); }
  FeedForward channels(const mx::array& h, const mx::array& down) const {
    return {type(h), h.shape(-1), down.shape(1), eps};
  }
  TokenMixing tokens(const mx::array& h, const mx::array& down) const {
    return {type(h), h.shape(-2), h.shape(-1), down.shape(1), eps};
  }
  long rows(const mx::array& h) const { return h.size() / h.shape(-1); }
  long batch(const mx::array& h) const { return rows(h) / h.shape(-2); }
};

class MixingGradient : public CpuPrimitive {
 public:
  explicit MixingGradient(Mixing op) : op_(op) {}
  const char* name() const override { return "TrmMixingGradient"; }

  // {h, y, inv, dy, gate_up, down} -> {dh, dgate_up, ddown}
  void eval_cpu(const Arrays& in, Arrays& out) override {
    allocate(out);
    const void *h = in[0].data<void>(), *y = in[1].data<void>(), *dy = in[3].data<void>();
    const float *inv = in[2].data<float>(), *gate_up = in[4].data<float>();
    const float* down = in[5].data<float>();
    void* dh = out[0].data<void>();
    float *dgate_up = out[1].data<float>(), *ddown = out[2].data<float>();
    auto& encoder = mx::cpu::get_command_encoder(stream());
    if (op_.axis == Axis::channels) {
      encoder.dispatch([=, op = op_.channels(in[0], in[5]), rows = op_.rows(in[0])]() mutable {
        Scratch scratch;
        op.pack_backward(gate_up, down, false, scratch);
        float* sums = scratch.floats(op.sums_size());
        op.backward(h, y, inv, nullptr, dy, rows, dh, sums, false);
        op.unpack(sums, dgate_up, ddown);
      });
    } else {
      encoder.dispatch([=, op = op_.tokens(in[0], in[5]), batch = op_.batch(in[0])]() mutable {
        Scratch scratch;
        op.pack_backward(gate_up, down, scratch);
        float* sums = scratch.floats(op.sums_size());
        op.backward(h, y, inv, dy, batch, dh, sums, false);
        op.unpack(sums, dgate_up, ddown);
      });
    }
  }

 private:
  Mixing op_;
};

class MixingForward : public CpuPrimitive {
 public:
  explicit MixingForward(Mixing op) : op_(op) {}
  const char* name() const override { return "TrmMixing"; }
  bool is_equivalent(const mx::Primitive& other) const override {
    const auto& o = static_cast<const MixingForward&>(other).op_;
    return op_.axis == o.axis && op_.eps == o.eps;
  }

  // {h, gate_up, down} -> {y, 1/RMS}
  void eval_cpu(const Arrays& in, Arrays& out) override {
    allocate(out);
    const void* h = in[0].data<void>();
    const float *gate_up = in[1].data<float>(), *down = in[2].data<float>();
    void* y = out[0].data<void>();
    float* inv = out[1].data<float>();
    auto& encoder = mx::cpu::get_command_encoder(stream());
    if (op_.axis == Axis::channels) {
      encoder.dispatch([=, op = op_.channels(in[0], in[2]), rows = op_.rows(in[0])]() mutable {
        Scratch scratch;
        op.pack_forward(gate_up, down, scratch);
        op.forward(h, rows, y, inv, nullptr);
      });
    } else {
      encoder.dispatch([=, op = op_.tokens(in[0], in[2]), batch = op_.batch(in[0])]() mutable {
        Scratch scratch;
        op.pack_forward(gate_up, down, scratch);
        op.forward(h, batch, y, inv);
      });
    }
  }

  Arrays vjp(const Arrays& primals, const Arrays& cotangents, const std::vector<int>& argnums,
             const Arrays& outputs) override {
    auto all = mx::array::make_arrays({primals[0].shape(), primals[1].shape(), primals[2].shape()},
                                      {primals[0].dtype(), mx::float32, mx::float32},
                                      std::make_shared<MixingGradient>(op_),
                                      {primals[0], outputs[0], outputs[1],
                                       mx::contiguous(cotangents[0]), primals[1], primals[2]});
    Arrays out;
    for (int i : argnums) out.push_back(all[i]);
    return out;
  }

 private:
  Mixing op_;
};

struct AttentionOp {
  int heads, head_dim;
  bool rotary;
  float eps;

  AttentionShape shape(const mx::array& h) const {
    return {h.shape(1), h.shape(2), heads, head_dim};
  }
  Attention on(const mx::array& h, const mx::array& cos, const mx::array& sin) const {
    return {Type(h.dtype() == mx::bfloat16), shape(h), rotary ? cos.data<float>() : nullptr,
            rotary ? sin.data<float>() : nullptr, eps};
  }
};

class AttentionGradient : public CpuPrimitive {
 public:
  explicit AttentionGradient(AttentionOp op) : op_(op) {}
  const char* name() const override { return "TrmAttentionGradient"; }

  // {h, qkv, o, cos, sin, y, mixed, inv, log_sum, dy} -> {dh, dqkv, do}
  void eval_cpu(const Arrays& in, Arrays& out) override {
    allocate(out);
    mx::cpu::get_command_encoder(stream()).dispatch(
        [op = op_.on(in[0], in[3], in[4]), batch = in[0].shape(0), h = in[0].data<void>(),
         qkv = in[1].data<float>(), o = in[2].data<float>(), y = in[5].data<void>(),
         mixed = in[6].data<void>(), inv = in[7].data<float>(), log_sum = in[8].data<float>(),
         dy = in[9].data<void>(), dh = out[0].data<void>(), dqkv = out[1].data<float>(),
         do_ = out[2].data<float>()]() mutable {
          Scratch scratch;
          op.pack_backward(qkv, o, scratch);
          float* sums = scratch.floats(op.sums_size());
          op.backward(h, y, mixed, inv, log_sum, dy, batch, dh, sums, false);
          op.unpack(sums, dqkv, do_);
        });
  }

 private:
  AttentionOp op_;
};

class AttentionForward : public CpuPrimitive {
 public:
  explicit AttentionForward(AttentionOp op) : op_(op) {}
  const char* name() const override { return "TrmAttention"; }
  bool is_equivalent(const mx::Primitive& other) const override {
    const auto& o = static_cast<const AttentionForward&>(other).op_;
    return op_.heads == o.heads && op_.head_dim == o.head_dim && op_.rotary == o.rotary &&
           op_.eps == o.eps;
  }

  // {h, qkv, o, cos, sin} -> {y, mixed, 1/RMS, log of the softmax's sums}
  void eval_cpu(const Arrays& in, Arrays& out) override {
    allocate(out);
    mx::cpu::get_command_encoder(stream()).dispatch(
        [op = op_.on(in[0], in[3], in[4]), batch = in[0].shape(0), h = in[0].data<void>(),
         qkv = in[1].data<float>(), o = in[2].data<float>(), y = out[0].data<void>(),
         mixed = out[1].data<void>(), inv = out[2].data<float>(),
         log_sum = out[3].data<float>()]() mutable {
          Scratch scratch;
          op.pack_forward(qkv, o, scratch);
          op.forward(h, batch, y, mixed, inv, log_sum);
        });
  }

  Arrays vjp(const Arrays& primals, const Arrays& cotangents, const std::vector<int>& argnums,
             const Arrays& outputs) override {
    Arrays in = primals;
    in.insert(in.end(), outputs.begin(), outputs.end());
    in.push_back(mx::contiguous(cotangents[0]));
    auto all = mx::array::make_arrays({primals[0].shape(), primals[1].shape(), primals[2].shape()},
                                      {primals[0].dtype(), mx::float32, mx::float32},
                                      std::make_shared<AttentionGradient>(op_), in);
    Arrays out;
    for (int i : argnums) out.push_back(i < 3 ? all[i] : mx::zeros_like(primals[i]));
    return out;
  }

 private:
  AttentionOp op_;
};

mx::array mix(Axis axis, const mx::array& h, const mx::array& gate_up, const mx::array& down,
              float eps) {
  mx::Shape scale_shape(h.shape().begin(), h.shape().end() - 1);
  if (axis == Axis::tokens) scale_shape.back() = h.shape(-1);
  return mx::array::make_arrays(
      {h.shape(), scale_shape}, {h.dtype(), mx::float32},
      std::make_shared<MixingForward>(Mixing{axis, eps}),
      {mx::contiguous(h), mx::contiguous(mx::astype(gate_up, mx::float32)),
       mx::contiguous(mx::astype(down, mx::float32))})[0];
}

}  // namespace

mx::array feed_forward(const mx::array& h, const mx::array& gate_up, const mx::array& down,
                       float eps) {
  return mix(Axis::channels, h, gate_up, down, eps);
}

mx::array token_mixing(const mx::array& h, const mx::array& gate_up, const mx::array& down,
                       float eps) {
  return mix(Axis::tokens, h, gate_up, down, eps);
}

mx::array attention(const mx::array& h, const mx::array& qkv, const mx::array& o, int heads,
                    const Rotary* rotary, float eps) {
  int B = h.shape(0), L = h.shape(1), width = o.shape(1);
  AttentionOp op{heads, width / heads, rotary != nullptr, eps};
  mx::array none(0.0f);
  return mx::array::make_arrays(
      {h.shape(), {B, L, width}, {B, L}, {B, heads, L}},
      {h.dtype(), h.dtype(), mx::float32, mx::float32}, std::make_shared<AttentionForward>(op),
      {mx::contiguous(h), floats(qkv), floats(o), rotary ? floats(rotary->cos) : none,
       rotary ? floats(rotary->sin) : none})[0];
}

}  // namespace trm::ops::cpu
