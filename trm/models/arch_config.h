#pragma once

#include <string>

namespace trm {

enum class ModelKind { trm, trm_hier6, trm_singlez, hrm, transformers_baseline };
enum class PosEncoding { rope, learned, none };
enum class LossKind { stablemax_cross_entropy, softmax_cross_entropy };

/// What defines a model, apart from its data: the reference's `arch` keys with the defaults of its
/// config/arch/trm.yaml.
struct ArchConfig {
  ModelKind kind = ModelKind::trm;
  LossKind loss = LossKind::stablemax_cross_entropy;
  int H_cycles = 3;
  int L_cycles = 6;
  int H_layers = 0;  // hrm, transformers_baseline
  int L_layers = 2;
  int hidden_size = 512;
  int num_heads = 8;
  float expansion = 4.0f;
  int puzzle_emb_ndim = 512;
  int puzzle_emb_len = 16;  // 0: ceil(puzzle_emb_ndim / hidden_size)
  PosEncoding pos_encodings = PosEncoding::rope;
  bool mlp_t = false;
  float rope_theta = 10000.0f;
  float rms_norm_eps = 1e-5f;
  std::string forward_dtype = "bfloat16";  // or float32, float16
  int halt_max_steps = 16;
  float halt_exploration_prob = 0.1f;
  bool no_ACT_continue = true;
  bool act_enabled = true;     // transformers_baseline
  bool act_inference = false;  // transformers_baseline
  // Not in the reference
  float label_smoothing = 0.0f;
  float q_loss_weight = 0.5f;
};

/// What the data set decides.
struct DataShape {
  int seq_len = 0;
  int vocab_size = 0;
  int num_puzzle_identifiers = 0;
};

/// Tokens that the puzzle embedding takes in front of the sequence.
inline int puzzle_emb_tokens(const ArchConfig& c) {
  if (c.puzzle_emb_ndim == 0 && c.puzzle_emb_len == 0) return 0;
  if (c.puzzle_emb_len != 0) return c.puzzle_emb_len;
  return (c.puzzle_emb_ndim + c.hidden_size - 1) / c.hidden_size;
}

const char* to_string(ModelKind kind);
const char* to_string(PosEncoding pos);
const char* to_string(LossKind loss);
/// The reverse; throws std::invalid_argument that lists the names.
ModelKind model_kind(const std::string& name);
PosEncoding pos_encoding(const std::string& name);
LossKind loss_kind(const std::string& name);

/// Throws std::invalid_argument, naming the key and what it must be.
void validate(const ArchConfig& config, const DataShape& shape);

}  // namespace trm
