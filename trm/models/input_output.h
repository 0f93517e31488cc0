// What all models share: embeddings in front of the recursion, heads behind it.
#pragma once

#include "trm/nn/layers.h"

namespace trm {

/// The state a model carries from one ACT step to the next: its latents, each (B, L, D) in the
/// forward dtype, the answer's first. L = puzzle embedding tokens + seq_len.
using Latents = std::vector<mx::array>;

/// What one ACT step answers.
struct Answer {
  mx::array logits;      // (B, seq_len, vocab) in the forward dtype
  mx::array q_halt;      // (B) float32
  mx::array q_continue;  // (B) float32
};

struct InputOutput {
  Embedding embed_tokens;  // (vocab, D)
  Linear lm_head;          // (vocab, D)
  Linear q_head;           // (2, D) with bias: halt, continue
  std::optional<SparseEmbedding> puzzle_emb;
  std::optional<Embedding> embed_pos;  // (L, D), pos_encodings learned
  BlockContext context;
  mx::Dtype dtype = mx::float32;
  int hidden_size = 0;
  int prefix = 0;  // tokens of the puzzle embedding

  /// inputs (B, seq_len) int32; puzzle_rows (B, puzzle_emb_ndim) float32, the rows of the batch's
  /// identifiers (absent without puzzle embedding) -> (B, L, D) in the forward dtype.
  mx::array embed(const mx::array& inputs, const std::optional<mx::array>& puzzle_rows) const;
  /// The answer latent (B, L, D) -> logits and halting values.
  Answer read(const mx::array& z) const;

  static void fields(auto& m, auto&& f) {
    f("embed_tokens", m.embed_tokens);
    f("lm_head", m.lm_head);
    f("q_head", m.q_head);
    f("puzzle_emb", m.puzzle_emb);
    f("embed_pos", m.embed_pos);
  }
};

InputOutput make_input_output(const ArchConfig& config, const DataShape& shape, KeySequence& keys);
/// H_init, L_init: (D) with deviation 1 in the forward dtype.
Buffer make_initial_state(const ArchConfig& config, KeySequence& keys);

}  // namespace trm
