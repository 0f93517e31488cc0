#include "trm/models/input_output.h"

#include <cmath>

namespace trm {

mx::array InputOutput::embed(const mx::array& inputs,
                             const std::optional<mx::array>& puzzle_rows) const {
  auto x = embed_tokens(inputs, dtype);
  if (puzzle_rows) {
    auto rows = mx::astype(*puzzle_rows, dtype);
    int padding = prefix * hidden_size - rows.shape(1);
    if (padding > 0) rows = mx::pad(rows, {{0, 0}, {0, padding}});
    x = mx::concatenate({mx::reshape(rows, {-1, prefix, hidden_size}), x}, 1);
  }
  if (embed_pos) {  // keeps the variance: 1/sqrt(2)
    x = mx::array(0.707106781f, dtype) * (x + mx::astype(embed_pos->embedding_weight, dtype));
  }
  return mx::array(std::sqrt(static_cast<float>(hidden_size)), dtype) * x;
}

Answer InputOutput::read(const mx::array& z) const {
  int B = z.shape(0), L = z.shape(1), D = z.shape(2);
  auto sequence = mx::slice(z, {0, prefix, 0}, {B, L, D});
  auto first = mx::reshape(mx::slice(z, {0, 0, 0}, {B, 1, D}), {B, D});
  auto q = mx::split(mx::astype(q_head(first), mx::float32), 2, -1);
  return {lm_head(sequence), mx::squeeze(q[0], -1), mx::squeeze(q[1], -1)};
}

InputOutput make_input_output(const ArchConfig& config, const DataShape& shape, KeySequence& keys) {
  int D = config.hidden_size, prefix = puzzle_emb_tokens(config);
  float std = 1.0f / std::sqrt(static_cast<float>(D));
  Embedding tokens{truncated_normal({shape.vocab_size, D}, std, keys.next())};
  auto lm_head = make_linear(D, shape.vocab_size, keys);
  // Halting starts at about 0.7 %: the paper's Q-learning needs it low.
  Linear q_head{mx::zeros({2, D}), mx::full({2}, -5.0f)};
  InputOutput io{tokens, lm_head, q_head,
                 {},     {},      make_block_context(config, prefix + shape.seq_len)};
  if (config.puzzle_emb_ndim > 0) {
    io.puzzle_emb =
        SparseEmbedding{{mx::zeros({shape.num_puzzle_identifiers, config.puzzle_emb_ndim})}};
  }
  if (config.pos_encodings == PosEncoding::learned) {
    io.embed_pos = Embedding{truncated_normal({prefix + shape.seq_len, D}, std, keys.next())};
  }
  io.dtype = dtype_of(config.forward_dtype);
  io.hidden_size = D;
  io.prefix = prefix;
  return io;
}

Buffer make_initial_state(const ArchConfig& config, KeySequence& keys) {
  auto state = truncated_normal({config.hidden_size}, 1.0f, keys.next());
  return {mx::astype(state, dtype_of(config.forward_dtype))};
}

}  // namespace trm
