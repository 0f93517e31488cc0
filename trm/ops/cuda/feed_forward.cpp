#include "trm/ops/cuda/cuda_ops.h"
#include "trm/ops/cuda/device.h"
#include "trm/ops/cuda/matmul.h"
#include "trm/ops/cuda/primitive.h"

namespace trm::ops::cuda {
namespace {

struct Sizes {
  int64_t rows;
  int width, inner;
  Sizes(const mx::array& h, const mx::array& down)
      : rows(static_cast<int64_t>(h.size()) / h.shape(-1)),
        width(down.shape(0)),
        inner(down.shape(1)) {}
  size_t bytes(int64_t columns) const { return static_cast<size_t>(rows * columns) * 2; }
};

// h, gate_up, down, y, r, gate_up's activations, dy -> dh, dgate_up, ddown
class FeedForwardGradient : public GpuPrimitive {
 public:
  const char* name() const override { return "FeedForwardGradient"; }

  void run(const Arrays& in, Arrays& out) override {
    auto& encoder = mx::cu::get_command_encoder(stream());
    Sizes s(in[0], in[2]);
    auto gate_up = half_weight(encoder, in[1], 2 * s.inner, s.width);
    auto down = half_weight(encoder, in[2], s.width, s.inner);
    allocate_over(in[6], out[0], encoder);
    allocate(out[1], encoder);
    allocate(out[2], encoder);
    Scratch scratch(encoder,
                    {kMatmulScratch, s.bytes(s.width), s.bytes(2 * s.inner), s.bytes(s.inner)});
    auto* work = scratch.piece<void>(0);
    auto *ds = scratch.piece<half>(1), *dgu = scratch.piece<half>(2), *p = scratch.piece<half>(3);
    SwigluGradientMaps maps{tensor_map(ds, {s.rows, s.width}, {128, 64}),
                            tensor_map(bits(down), {s.width, s.inner}, {64, 64}),
                            tensor_map(bits(in[5]), {s.rows, 2 * s.inner}, {64, 64}),
                            tensor_map(dgu, {s.rows, 2 * s.inner}, {64, 64}),
                            tensor_map(p, {s.rows, s.inner}, {64, 64})};
    Arrays inputs = in;
    inputs.push_back(gate_up);
    inputs.push_back(down);
    record(encoder, inputs, out, &scratch, [&](cudaStream_t stream) {
      rms_rows_backward(bits(in[3]), bits(in[6]), pointer<float>(in[4]), ds, s.rows, s.width,
                        stream);
      swiglu_gradient(maps, s.rows, s.inner, processors(), stream);
      matmul(s.rows, s.width, 2 * s.inner, {dgu}, {bits(gate_up)}, ds, bits(out[0]), false, work,
             stream);
      matmul(2 * s.inner, s.width, s.rows, {dgu, true}, {bits(in[0])}, nullptr,
             pointer<float>(out[1]), true, work, stream);
      matmul(s.width, s.inner, s.rows, {ds, true}, {p}, nullptr, pointer<float>(out[2]), true, work,
             stream);
    });
  }
};

// h, gate_up, down -> y; kept for the gradient: r = 1/rms of each row, gate_up's activations
class FeedForward : public Saving {
 public:
  explicit FeedForward(float eps) : eps_(eps) {}
  const char* name() const override { return "FeedForward"; }

  void run(const Arrays& in, Arrays& out) override {
    auto& encoder = mx::cu::get_command_encoder(stream());
    Sizes s(in[0], in[2]);
    auto gate_up = half_weight(encoder, in[1], 2 * s.inner, s.width);
    auto down = half_weight(encoder, in[2], s.width, s.inner);
    keeps ? allocate(out[0], encoder) : allocate_over(in[0], out[0], encoder);
    for (size_t i = 1; i < out.size(); ++i) {
      keeps ? allocate(out[i], encoder) : leave_empty(out[i]);
    }
    Scratch scratch(encoder, {s.bytes(s.inner)});
    auto* p = scratch.piece<half>(0);
    record(encoder, {in[0], gate_up, down}, keeps ? out : Arrays{out[0]}, &scratch,
           [&](cudaStream_t stream) {
             swiglu(bits(in[0]), bits(gate_up), p, keeps ? bits(out[2]) : nullptr, s.rows, s.inner,
                    stream);
             product_norm(p, bits(down), bits(in[0]), bits(out[0]),
                          keeps ? pointer<float>(out[1]) : nullptr, s.rows, s.inner, eps_, stream);
           });
  }

  Arrays vjp(const Arrays& primals, const Arrays& cotangents, const std::vector<int>& argnums,
             const Arrays& outputs) override {
    auto saved = saved_outputs(primals, outputs);
    auto gradients = mx::array::make_arrays(
        {primals[0].shape(), primals[1].shape(), primals[2].shape()},
        {primals[0].dtype(), mx::float32, mx::float32}, std::make_shared<FeedForwardGradient>(),
        {primals[0], primals[1], primals[2], saved[0], saved[1], saved[2],
         mx::contiguous(cotangents[0])});
    return pick(gradients, argnums);
  }

 protected:
  std::shared_ptr<Saving> copy() const override { return std::make_shared<FeedForward>(eps_); }

 private:
  float eps_;
};

}  // namespace

bool handles_feed_forward(const mx::array& h, const mx::array& gate_up, const mx::array& down) {
  return available() && h.dtype() == mx::bfloat16 && gate_up.dtype() == mx::float32 &&
         down.dtype() == mx::float32 && h.size() > 0 && h.shape(-1) == 512 &&
         down.shape(1) % 256 == 0;
}

mx::array feed_forward(const mx::array& h, const mx::array& gate_up, const mx::array& down,
                       float eps) {
  int rows = static_cast<int>(h.size()) / h.shape(-1);
  return mx::array::make_arrays(
      {h.shape(), {rows}, {rows, gate_up.shape(0)}}, {mx::bfloat16, mx::float32, mx::bfloat16},
      std::make_shared<FeedForward>(eps),
      {mx::contiguous(h), mx::contiguous(gate_up), mx::contiguous(down)})[0];
}

}  // namespace trm::ops::cuda
