// The layers of the reference, as plain structs over arrays. Weights are float32 masters (out, in);
// the work is done in the dtype of the activations.
#pragma once

#include <optional>
#include <vector>

#include "trm/models/arch_config.h"
#include "trm/nn/init.h"
#include "trm/nn/tree.h"
#include "trm/ops/ops.h"

namespace trm {

struct Linear {
  mx::array weight;               // (out, in)
  std::optional<mx::array> bias;  // (out)

  mx::array operator()(const mx::array& x) const;
  static void fields(auto& m, auto&& f) {
    f("weight", m.weight);
    f("bias", m.bias);
  }
};

struct Embedding {
  mx::array embedding_weight;  // (rows, D)

  /// ids (…) int32 -> (…, D) in `dtype`.
  mx::array operator()(const mx::array& ids, mx::Dtype dtype) const;
  static void fields(auto& m, auto&& f) { f("embedding_weight", m.embedding_weight); }
};

/// The puzzle embedding: trained by sign-SGD on the rows of a batch, outside the model's gradient.
struct SparseEmbedding {
  Buffer weights;  // (identifiers, puzzle_emb_ndim) float32

  static void fields(auto& m, auto&& f) { f("weights", m.weights); }
};

struct SwiGLU {
  Linear gate_up_proj;  // (2·inner, D)
  Linear down_proj;     // (D, inner)

  static void fields(auto& m, auto&& f) {
    f("gate_up_proj", m.gate_up_proj);
    f("down_proj", m.down_proj);
  }
};

struct Attention {
  Linear qkv_proj;  // (3·heads·head_dim, D)
  Linear o_proj;    // (D, heads·head_dim)

  static void fields(auto& m, auto&& f) {
    f("qkv_proj", m.qkv_proj);
    f("o_proj", m.o_proj);
  }
};

/// What the layers need to know besides their weights; not part of the tree.
struct BlockContext {
  int heads;
  float eps;
  std::optional<ops::Rotary> rotary;
  /// Keep only what goes into a network for its gradient, and compute the inside again.
  bool recompute = false;
};

/// One post-norm layer: h = RMS(h + mix(h)); h = RMS(h + SwiGLU(h)). The mix is attention or, with
/// mlp_t, a SwiGLU over the tokens.
struct Block {
  std::optional<Attention> self_attn;
  std::optional<SwiGLU> mlp_t;
  SwiGLU mlp;

  mx::array operator()(mx::array h, const BlockContext& context) const;
  static void fields(auto& m, auto&& f) {
    f("self_attn", m.self_attn);
    f("mlp_t", m.mlp_t);
    f("mlp", m.mlp);
  }
};

/// The network that recursion applies over and over: layers on z plus what is injected.
struct ReasoningModule {
  std::vector<Block> layers;

  /// z, injection (B, L, D) -> (B, L, D)
  mx::array operator()(const mx::array& z, const mx::array& injection,
                       const BlockContext& context) const;
  /// The same network as ops::recursion takes it; it points into `context`.
  ops::Network network(const BlockContext& context) const;
  static void fields(auto& m, auto&& f) { f("layers", m.layers); }
};

/// SwiGLU's inner size: 256 * ceil(round(2/3 * expansion * dim) / 256).
int swiglu_inner(int dim, float expansion);

Linear make_linear(int in, int out, KeySequence& keys);
ReasoningModule make_reasoning_module(const ArchConfig& config, int tokens, int layers,
                                      KeySequence& keys);
BlockContext make_block_context(const ArchConfig& config, int tokens);
mx::Dtype dtype_of(const std::string& name);

}  // namespace trm
