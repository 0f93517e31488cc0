#include "trm/ops/cuda/cuda_ops.h"
#include "trm/ops/cuda/device.h"
#include "trm/ops/cuda/primitive.h"

namespace trm::ops::cuda {
namespace {

struct Sizes {
  int batch, tokens, width, inner;
  Sizes(const mx::array& h, const mx::array& down)
      : batch(h.shape(0)), tokens(h.shape(1)), width(h.shape(2)), inner(down.shape(1)) {}
};

TokenMaps make_maps(const Sizes& s, const mx::array& gate_up, const mx::array& down, const void* x,
                    const void* y, const void* ds) {
  auto activations = [&](const void* data) {
    return tensor_map(data, {s.batch, s.tokens, s.width}, {1, kTokensPadded, 64});
  };
  return {tensor_map(bits(gate_up), {2 * s.inner, kGateUpPadded}, {64, 64}),
          tensor_map(bits(down), {kTokensPadded, s.inner}, {kTokensPadded, 64}), activations(x),
          activations(y), activations(ds)};
}

// h, gate_up, down, y, r, dy -> dh, dgate_up, ddown
class TokenMixingGradient : public GpuPrimitive {
 public:
  const char* name() const override { return "TokenMixingGradient"; }

  void run(const Arrays& in, Arrays& out) override {
    auto& encoder = mx::cu::get_command_encoder(stream());
    Sizes s(in[0], in[2]);
    auto gate_up = half_weight(encoder, in[1], 2 * s.inner, kGateUpPadded);
    auto down = half_weight(encoder, in[2], kTokensPadded, s.inner);
    allocate_over(in[5], out[0], encoder);
    allocate(out[1], encoder);
    allocate(out[2], encoder);
    size_t partial = sizeof(float) * 2 * kTokenSplits * 3 * s.inner * kTokensMax;
    Scratch scratch(encoder, {in[0].nbytes(), partial});
    auto* ds = scratch.piece<half>(0);
    auto* sums = scratch.piece<float>(1);
    auto maps = make_maps(s, gate_up, down, bits(in[0]), bits(out[0]), ds);
    Arrays inputs = in;
    inputs.push_back(gate_up);
    inputs.push_back(down);
    record(encoder, inputs, out, &scratch, [&](cudaStream_t stream) {
      rms_tokens_backward(bits(in[3]), bits(in[5]), pointer<float>(in[4]), ds, s.batch, s.tokens,
                          s.width, stream);
      token_mixing_input_gradient(maps, s.batch, s.width, s.inner, processors(), stream);
      token_mixing_weight_gradient(maps, sums, s.batch, s.width, s.inner, stream);
      token_mixing_sum_partials(sums, pointer<float>(out[1]), pointer<float>(out[2]), s.tokens,
                                s.inner, stream);
    });
  }
};

// h, gate_up, down -> y; kept for the gradient: r (batch, width)
class TokenMixing : public Saving {
 public:
  explicit TokenMixing(float eps) : eps_(eps) {}
  const char* name() const override { return "TokenMixing"; }

  void run(const Arrays& in, Arrays& out) override {
    auto& encoder = mx::cu::get_command_encoder(stream());
    Sizes s(in[0], in[2]);
    auto gate_up = half_weight(encoder, in[1], 2 * s.inner, kGateUpPadded);
    auto down = half_weight(encoder, in[2], kTokensPadded, s.inner);
    keeps ? allocate(out[0], encoder) : allocate_over(in[0], out[0], encoder);
    for (size_t i = 1; i < out.size(); ++i) {
      keeps ? allocate(out[i], encoder) : leave_empty(out[i]);
    }
    auto maps = make_maps(s, gate_up, down, bits(in[0]), bits(out[0]), bits(out[0]));
    record(encoder, {in[0], gate_up, down}, keeps ? out : Arrays{out[0]}, nullptr,
           [&](cudaStream_t stream) {
             cuda::token_mixing(maps, keeps ? pointer<float>(out[1]) : nullptr, s.batch, s.tokens,
                                s.width, s.inner, eps_, processors(), stream);
           });
  }

  Arrays vjp(const Arrays& primals, const Arrays& cotangents, const std::vector<int>& argnums,
             const Arrays& outputs) override {
    auto saved = saved_outputs(primals, outputs);
    auto gradients = mx::array::make_arrays(
        {primals[0].shape(), primals[1].shape(), primals[2].shape()},
        {primals[0].dtype(), mx::float32, mx::float32}, std::make_shared<TokenMixingGradient>(),
        {primals[0], primals[1], primals[2], saved[0], saved[1], mx::contiguous(cotangents[0])});
    return pick(gradients, argnums);
  }

 protected:
  std::shared_ptr<Saving> copy() const override { return std::make_shared<TokenMixing>(eps_); }

 private:
  float eps_;
};

}  // namespace

bool handles_token_mixing(const mx::array& h, const mx::array& gate_up, const mx::array& down) {
  return available() && h.dtype() == mx::bfloat16 && gate_up.dtype() == mx::float32 &&
         down.dtype() == mx::float32 && h.ndim() == 3 && h.size() > 0 && h.shape(1) <= kTokensMax &&
         h.shape(2) % 256 == 0 && down.shape(1) % 64 == 0;
}

mx::array token_mixing(const mx::array& h, const mx::array& gate_up, const mx::array& down,
                       float eps) {
  return mx::array::make_arrays(
      {h.shape(), {h.shape(0), h.shape(2)}}, {mx::bfloat16, mx::float32},
      std::make_shared<TokenMixing>(eps),
      {mx::contiguous(h), mx::contiguous(gate_up), mx::contiguous(down)})[0];
}

}  // namespace trm::ops::cuda
