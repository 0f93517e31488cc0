#include "trm/ops/cuda/cuda_ops.h"
#include "trm/ops/cuda/device.h"
#include "trm/ops/cuda/matmul.h"
#include "trm/ops/cuda/primitive.h"
#include "trm/ops/cuda/sdpa.h"

namespace trm::ops::cuda {
namespace {

struct Sizes {
  int batch, tokens, width, heads, dim, inner;  // inner = heads * dim
  int64_t rows;
  Sizes(const mx::array& h, const mx::array& o, int heads)
      : batch(h.shape(0)),
        tokens(h.shape(1)),
        width(h.shape(2)),
        heads(heads),
        dim(o.shape(1) / heads),
        inner(o.shape(1)),
        rows(static_cast<int64_t>(batch) * tokens) {}
  SdpaShape sdpa() const { return {batch, tokens, heads, dim}; }
  // Our kernels take heads of 64 at a width of 512. The rest is cuBLASLt's and cuDNN's.
  bool ours() const { return dim == 64 && width == 512 && 3 * inner % 512 == 0; }
  bool is_short() const { return ours() && tokens <= kTokensMax; }
  size_t bytes(int64_t columns) const { return static_cast<size_t>(rows * columns) * 2; }
};

ShortAttentionMaps short_maps(const Sizes& s, const void* qkv, const void* out, const void* dout,
                              void* dqkv) {
  auto map = [&](const void* data, int columns, int rows) {
    return tensor_map(data, {s.batch, s.tokens, columns}, {1, rows, 64});
  };
  return {map(qkv, 3 * s.inner, kTokensPadded), map(out, s.inner, kTokensPadded),
          map(dout, s.inner, kTokensPadded), map(dqkv, 3 * s.inner, 64)};
}

// h, qkv, o, cos, sin, y, r, qkv's activations, attention's result, its statistics, dy
// -> dh, dqkv, do
class AttentionGradient : public GpuPrimitive {
 public:
  AttentionGradient(int heads, bool rotary) : heads_(heads), rotary_(rotary) {}
  const char* name() const override { return "AttentionGradient"; }

  void run(const Arrays& in, Arrays& out) override {
    auto& encoder = mx::cu::get_command_encoder(stream());
    Sizes s(in[0], in[2], heads_);
    auto qkv = half_weight(encoder, in[1], 3 * s.inner, s.width);
    auto o = half_weight(encoder, in[2], s.width, s.inner);
    allocate_over(in[10], out[0], encoder);
    allocate(out[1], encoder);
    allocate(out[2], encoder);
    Scratch scratch(encoder,
                    {kMatmulScratch, s.bytes(s.width), s.bytes(s.inner), s.bytes(3 * s.inner),
                     s.is_short() ? 0
                     : s.ours()   ? long_attention_gradient_scratch(s.batch, s.tokens, s.heads)
                                  : sdpa_backward_scratch(s.sdpa())});
    auto* work = scratch.piece<void>(0);
    auto *ds = scratch.piece<half>(1), *dmixed = scratch.piece<half>(2),
         *dqkv = scratch.piece<half>(3);
    Arrays inputs = in;
    inputs.push_back(qkv);
    inputs.push_back(o);
    record(encoder, inputs, out, &scratch, [&](cudaStream_t stream) {
      rms_rows_backward(bits(in[5]), bits(in[10]), pointer<float>(in[6]), ds, s.rows, s.width,
                        stream);
      matmul(s.rows, s.inner, s.width, {ds}, {bits(o)}, nullptr, dmixed, false, work, stream);
      matmul(s.width, s.inner, s.rows, {ds, true}, {bits(in[8])}, nullptr, pointer<float>(out[2]),
             true, work, stream);
      auto *cos = rotary_ ? pointer<float>(in[3]) : nullptr, *sin = pointer<float>(in[4]);
      if (s.is_short()) {
        short_attention_backward(short_maps(s, bits(in[7]), bits(in[8]), dmixed, dqkv), cos, sin,
                                 pointer<float>(in[9]), s.batch, s.tokens, s.heads, stream);
      } else if (s.ours()) {
        auto map = [&](const half* data, int columns) {
          return tensor_map(data, {s.batch, s.tokens, columns}, {1, 64, 64});
        };
        long_attention_gradient({map(bits(in[7]), 3 * s.inner), map(bits(in[8]), s.inner),
                                 map(dmixed, s.inner), map(dqkv, 3 * s.inner)},
                                cos, sin, pointer<float>(in[9]), scratch.piece<void>(4), s.batch,
                                s.tokens, s.heads, processors(), stream);
      } else {
        sdpa_backward(s.sdpa(), bits(in[7]), bits(in[8]), pointer<float>(in[9]), dmixed, dqkv,
                      scratch.piece<void>(4), stream);
        if (rotary_) rotate(dqkv, cos, sin, s.rows, s.tokens, s.heads, s.dim, true, stream);
      }
      matmul(s.rows, s.width, 3 * s.inner, {dqkv}, {bits(qkv)}, ds, bits(out[0]), false, work,
             stream);
      matmul(3 * s.inner, s.width, s.rows, {dqkv, true}, {bits(in[0])}, nullptr,
             pointer<float>(out[1]), true, work, stream);
    });
  }

 private:
  int heads_;
  bool rotary_;
};

// h, qkv, o, cos, sin -> y; kept for the gradient: r, q, k and v (rotated unless short),
// attention's result and its statistics. Without rotation cos and sin are empty.
class Attention : public Saving {
 public:
  Attention(int heads, bool rotary, float eps) : heads_(heads), rotary_(rotary), eps_(eps) {}
  const char* name() const override { return "Attention"; }

  void run(const Arrays& in, Arrays& out) override {
    auto& encoder = mx::cu::get_command_encoder(stream());
    Sizes s(in[0], in[2], heads_);
    auto qkv = half_weight(encoder, in[1], 3 * s.inner, s.width);
    auto o = half_weight(encoder, in[2], s.width, s.inner);
    // cuBLASLt rounds otherwise where it writes over its addend.
    keeps || !s.ours() ? allocate(out[0], encoder) : allocate_over(in[0], out[0], encoder);
    for (size_t i = 1; i < out.size(); ++i) {
      keeps ? allocate(out[i], encoder) : leave_empty(out[i]);
    }
    Scratch scratch(encoder, {kMatmulScratch, s.ours() ? 0 : sdpa_scratch(s.sdpa(), keeps),
                              keeps ? 0 : s.bytes(3 * s.inner), keeps ? 0 : s.bytes(s.inner)});
    auto* work = scratch.piece<void>(0);
    auto* projected = keeps ? bits(out[2]) : scratch.piece<half>(2);
    auto* mixed = keeps ? bits(out[3]) : scratch.piece<half>(3);
    record(encoder, {in[0], in[3], in[4], qkv, o}, keeps ? out : Arrays{out[0]}, &scratch,
           [&](cudaStream_t stream) {
             auto *cos = rotary_ ? pointer<float>(in[3]) : nullptr, *sin = pointer<float>(in[4]);
             auto* stats = keeps ? pointer<float>(out[4]) : nullptr;
             if (s.ours()) {
               project_qkv(bits(in[0]), bits(qkv), projected, cos, sin, s.rows, s.tokens,
                           3 * s.inner, stream);
             } else {
               matmul(s.rows, 3 * s.inner, s.width, {bits(in[0])}, {bits(qkv), true}, nullptr,
                      projected, false, work, stream);
               if (rotary_) {
                 rotate(projected, cos, sin, s.rows, s.tokens, s.heads, s.dim, false, stream);
               }
             }
             if (s.is_short()) {
               short_attention(short_maps(s, projected, mixed, mixed, projected), stats, s.batch,
                               s.tokens, s.heads, stream);
             } else if (s.ours()) {
               auto map = [&](const void* data, int columns, int rows) {
                 return tensor_map(data, {s.batch, s.tokens, columns}, {1, rows, 64});
               };
               long_attention({map(projected, 3 * s.inner, 64), map(projected, 3 * s.inner, 96),
                               map(mixed, s.inner, 64)},
                              stats, s.batch, s.tokens, s.heads, processors(), stream);
             } else {
               sdpa(s.sdpa(), projected, mixed, stats, scratch.piece<void>(1), stream);
             }
             auto* r = keeps ? pointer<float>(out[1]) : nullptr;
             if (s.ours()) {
               product_norm(mixed, bits(o), bits(in[0]), bits(out[0]), r, s.rows, s.inner, eps_,
                            stream);
             } else {
               matmul(s.rows, s.width, s.inner, {mixed}, {bits(o), true}, bits(in[0]), bits(out[0]),
                      false, work, stream);
               rms_rows(bits(out[0]), r, s.rows, s.width, eps_, stream);
             }
           });
  }

  Arrays vjp(const Arrays& primals, const Arrays& cotangents, const std::vector<int>& argnums,
             const Arrays& outputs) override {
    for (int i : argnums) {
      if (i > 2) throw std::invalid_argument("[attention] rotary tables have no gradient");
    }
    auto saved = saved_outputs(primals, outputs);
    auto inputs = primals;
    inputs.insert(inputs.end(), saved.begin(), saved.end());
    inputs.push_back(mx::contiguous(cotangents[0]));
    auto gradients =
        mx::array::make_arrays({primals[0].shape(), primals[1].shape(), primals[2].shape()},
                               {primals[0].dtype(), mx::float32, mx::float32},
                               std::make_shared<AttentionGradient>(heads_, rotary_), inputs);
    return pick(gradients, argnums);
  }

 protected:
  std::shared_ptr<Saving> copy() const override {
    return std::make_shared<Attention>(heads_, rotary_, eps_);
  }

 private:
  int heads_;
  bool rotary_;
  float eps_;
};

}  // namespace

bool handles_attention(const mx::array& h, const mx::array& qkv, const mx::array& o, int heads) {
  int dim = o.shape(1) / heads;
  return available() && h.dtype() == mx::bfloat16 && qkv.dtype() == mx::float32 &&
         o.dtype() == mx::float32 && h.ndim() == 3 && h.size() > 0 && h.shape(2) % 256 == 0 &&
         h.shape(2) <= 1024 && dim % 16 == 0 && dim <= 128;
}

mx::array attention(const mx::array& h, const mx::array& qkv, const mx::array& o, int heads,
                    const Rotary* rotary, float eps) {
  int batch = h.shape(0), tokens = h.shape(1), rows = batch * tokens, inner = o.shape(1);
  auto none = mx::array(0.0f);
  return mx::array::make_arrays(
      {h.shape(), {rows}, {rows, 3 * inner}, {rows, inner}, {batch, heads, tokens}},
      {mx::bfloat16, mx::float32, mx::bfloat16, mx::bfloat16, mx::float32},
      std::make_shared<Attention>(heads, rotary != nullptr, eps),
      {mx::contiguous(h), mx::contiguous(qkv), mx::contiguous(o),
       rotary ? mx::contiguous(rotary->cos) : none,
       rotary ? mx::contiguous(rotary->sin) : none})[0];
}

}  // namespace trm::ops::cuda
