#include "trm/nn/layers.h"

#include <cmath>
#include <stdexcept>

#include <fmt/format.h>

namespace trm {

mx::array Linear::operator()(const mx::array& x) const {
  auto y = ops::linear(x, weight);
  return bias ? y + mx::astype(*bias, x.dtype()) : y;
}

namespace {
// Rows of a small table in a 16-bit `dtype`, as a product with the one-hot ids: exact, for only one
// of a sum's terms is not zero. MLX's `take` takes several times as long on a GPU, and its gradient
// adds every token's row to the table by atomics, which wait for each other.
mx::array rows_by_product(const mx::array& table, const mx::array& ids, mx::Dtype dtype) {
  int rows = (table.shape(0) + 15) / 16 * 16;  // a width the tensor cores like
  auto one_hot = [rows](const mx::array& of, mx::Dtype type) {
    auto flat = mx::reshape(of, {-1, 1});
    return mx::astype(flat == mx::reshape(mx::arange(rows, of.dtype()), {1, -1}), type);
  };
  auto take = [=](const Arrays& in) {
    if (dtype == mx::float32) return Arrays{mx::take(in[0], in[1], 0)};  // a product may be TF32
    auto padded = mx::pad(mx::astype(in[0], dtype), {{0, rows - in[0].shape(0)}, {0, 0}});
    auto shape = in[1].shape();
    shape.push_back(in[0].shape(1));
    return Arrays{mx::reshape(mx::matmul(one_hot(in[1], dtype), padded), shape)};
  };
  auto gradient = [=](const Arrays& in, const Arrays& cotangents, const Arrays&) {
    int width = in[0].shape(1);
    auto dy = mx::reshape(mx::astype(cotangents[0], mx::float32), {-1, width});
    auto sums = mx::matmul(mx::transpose(one_hot(in[1], mx::float32)), dy);
    return Arrays{mx::slice(sums, {0, 0}, in[0].shape()), mx::zeros_like(in[1])};
  };
  return mx::custom_vjp(take, gradient)({table, ids})[0];
}
}  // namespace

mx::array Embedding::operator()(const mx::array& ids, mx::Dtype dtype) const {
  bool by_product = mx::default_device() == mx::Device::gpu && embedding_weight.shape(0) <= 64;
  if (by_product) return rows_by_product(embedding_weight, ids, dtype);
  return mx::astype(mx::take(embedding_weight, ids, 0), dtype);
}

mx::array Block::operator()(mx::array h, const BlockContext& context) const {
  if (mlp_t) {
    h = ops::token_mixing(h, mlp_t->gate_up_proj.weight, mlp_t->down_proj.weight, context.eps);
  } else {
    h = ops::attention(h, self_attn->qkv_proj.weight, self_attn->o_proj.weight, context.heads,
                       context.rotary ? &*context.rotary : nullptr, context.eps);
  }
  return ops::feed_forward(h, mlp.gate_up_proj.weight, mlp.down_proj.weight, context.eps);
}

namespace {
using Function = std::function<Arrays(const Arrays&)>;

/// mx::checkpoint, but what is computed again waits for the gradient that asks for it: else it may
/// all be computed, and kept, before the first gradient is.
Function recomputed(Function inside) {
  return mx::custom_vjp(
      inside, [inside](const Arrays& primals, const Arrays& cotangents, const Arrays&) {
        return mx::vjp(inside, mx::depends(primals, cotangents), cotangents).second;
      });
}
}  // namespace

mx::array ReasoningModule::operator()(const mx::array& z, const mx::array& injection,
                                      const BlockContext& context) const {
  if (context.recompute) {
    auto inside = [module = *this, context = context](const Arrays& in) mutable -> Arrays {
      context.recompute = false;
      auto last = in.end() - 2;
      return {with_trainable(module, {in.begin(), last})(last[0], last[1], context)};
    };
    auto in = trainable(*this);  // arguments, for a captured array has no gradient
    in.insert(in.end(), {z, injection});
    return recomputed(inside)(in)[0];
  }
  auto h = z + injection;
  for (auto& layer : layers) h = layer(h, context);
  return h;
}

ops::Network ReasoningModule::network(const BlockContext& context) const {
  ops::Network out{
      {}, false, context.heads, context.rotary ? &*context.rotary : nullptr, context.eps};
  for (auto& layer : layers) {
    out.mixes_tokens = layer.mlp_t.has_value();
    auto& in = layer.mlp_t ? layer.mlp_t->gate_up_proj : layer.self_attn->qkv_proj;
    auto& back = layer.mlp_t ? layer.mlp_t->down_proj : layer.self_attn->o_proj;
    out.layers.push_back(
        {in.weight, back.weight, layer.mlp.gate_up_proj.weight, layer.mlp.down_proj.weight});
  }
  return out;
}

int swiglu_inner(int dim, float expansion) {
  int inner = static_cast<int>(std::nearbyint(expansion * dim * 2.0 / 3.0));
  return (inner + 255) / 256 * 256;
}

Linear make_linear(int in, int out, KeySequence& keys) {
  return {truncated_normal({out, in}, 1.0f / std::sqrt(static_cast<float>(in)), keys.next()), {}};
}

namespace {
SwiGLU make_swiglu(int dim, float expansion, KeySequence& keys) {
  int inner = swiglu_inner(dim, expansion);
  auto gate_up = make_linear(dim, 2 * inner, keys);
  return {gate_up, make_linear(inner, dim, keys)};
}
}  // namespace

ReasoningModule make_reasoning_module(const ArchConfig& config, int tokens, int layers,
                                      KeySequence& keys) {
  ReasoningModule module;
  int width = config.hidden_size / config.num_heads * config.num_heads;
  for (int i = 0; i < layers; ++i) {
    std::optional<Attention> attention;
    std::optional<SwiGLU> mlp_t;
    if (config.mlp_t) {
      mlp_t = make_swiglu(tokens, config.expansion, keys);
    } else {
      auto qkv = make_linear(config.hidden_size, 3 * width, keys);
      attention = Attention{qkv, make_linear(width, config.hidden_size, keys)};
    }
    module.layers.push_back(
        {attention, mlp_t, make_swiglu(config.hidden_size, config.expansion, keys)});
  }
  return module;
}

BlockContext make_block_context(const ArchConfig& config, int tokens) {
  BlockContext context{config.num_heads, config.rms_norm_eps, std::nullopt};
  if (!config.mlp_t && config.pos_encodings == PosEncoding::rope) {
    context.rotary =
        ops::rotary_tables(tokens, config.hidden_size / config.num_heads, config.rope_theta);
  }
  return context;
}

mx::Dtype dtype_of(const std::string& name) {
  if (name == "float32") return mx::float32;
  if (name == "bfloat16") return mx::bfloat16;
  if (name == "float16") return mx::float16;
  throw std::invalid_argument(
      fmt::format("[config] dtype '{}' is none of: float32, bfloat16, float16", name));
}

}  // namespace trm
