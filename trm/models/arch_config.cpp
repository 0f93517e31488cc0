#include "trm/models/arch_config.h"

#include <array>
#include <stdexcept>
#include <utility>

#include <fmt/format.h>

namespace trm {

namespace {

template <class Enum, size_t N>
using Names = std::array<std::pair<Enum, const char*>, N>;

constexpr Names<ModelKind, 5> kModels{
    {{ModelKind::trm, "trm"},
     {ModelKind::trm_hier6, "trm_hier6"},
     {ModelKind::trm_singlez, "trm_singlez"},
     {ModelKind::hrm, "hrm"},
     {ModelKind::transformers_baseline, "transformers_baseline"}}};
constexpr Names<PosEncoding, 3> kPositions{
    {{PosEncoding::rope, "rope"}, {PosEncoding::learned, "learned"}, {PosEncoding::none, "none"}}};
constexpr Names<LossKind, 2> kLosses{
    {{LossKind::stablemax_cross_entropy, "stablemax_cross_entropy"},
     {LossKind::softmax_cross_entropy, "softmax_cross_entropy"}}};

template <class Enum, size_t N>
const char* name_of(const Names<Enum, N>& names, Enum value) {
  for (auto& [v, name] : names) {
    if (v == value) return name;
  }
  return "?";
}

template <class Enum, size_t N>
Enum value_of(const Names<Enum, N>& names, const std::string& name, const char* what) {
  std::string known;
  for (auto& [v, n] : names) {
    if (name == n) return v;
    known += (known.empty() ? "" : ", ") + std::string(n);
  }
  throw std::invalid_argument(fmt::format("[config] {} '{}' is none of: {}", what, name, known));
}

}  // namespace

const char* to_string(ModelKind kind) { return name_of(kModels, kind); }
const char* to_string(PosEncoding pos) { return name_of(kPositions, pos); }
const char* to_string(LossKind loss) { return name_of(kLosses, loss); }
ModelKind model_kind(const std::string& name) { return value_of(kModels, name, "model"); }
PosEncoding pos_encoding(const std::string& name) {
  return value_of(kPositions, name, "arch.pos_encodings");
}
LossKind loss_kind(const std::string& name) {
  return value_of(kLosses, name, "arch.loss.loss_type");
}

void validate(const ArchConfig& c, const DataShape& s) {
  auto require = [](bool ok, const std::string& what) {
    if (!ok) throw std::invalid_argument("[config] " + what);
  };
  auto at_least = [&](const char* key, int value, int least) {
    require(value >= least, fmt::format("{} must be at least {}, not {}", key, least, value));
  };
  at_least("seq_len", s.seq_len, 1);
  at_least("vocab_size", s.vocab_size, 1);
  at_least("arch.H_cycles", c.H_cycles, 1);
  at_least("arch.hidden_size", c.hidden_size, 1);
  at_least("arch.num_heads", c.num_heads, 1);
  at_least("arch.puzzle_emb_ndim", c.puzzle_emb_ndim, 0);
  at_least("arch.puzzle_emb_len", c.puzzle_emb_len, 0);
  at_least("arch.halt_max_steps", c.halt_max_steps, 1);
  require(c.expansion > 0, fmt::format("arch.expansion must be positive, not {}", c.expansion));
  require(c.halt_exploration_prob >= 0 && c.halt_exploration_prob <= 1,
          fmt::format("arch.halt_exploration_prob must be between 0 and 1, not {}",
                      c.halt_exploration_prob));
  require(c.label_smoothing >= 0 && c.label_smoothing < 1,
          fmt::format("arch.label_smoothing must lie in [0, 1), not {}", c.label_smoothing));
  require(c.q_loss_weight >= 0,
          fmt::format("arch.q_loss_weight must not be negative, not {}", c.q_loss_weight));
  require(
      c.forward_dtype == "float32" || c.forward_dtype == "bfloat16" || c.forward_dtype == "float16",
      fmt::format("arch.forward_dtype must be float32, bfloat16 or float16, not '{}'",
                  c.forward_dtype));
  int head_dim = c.hidden_size / c.num_heads;
  require(c.mlp_t || head_dim >= 1,
          fmt::format("arch.num_heads {} exceeds arch.hidden_size {}", c.num_heads, c.hidden_size));
  require(c.mlp_t || c.pos_encodings != PosEncoding::rope || head_dim % 2 == 0,
          fmt::format("rotary positions need an even head size, not {} (hidden_size {} / num_heads "
                      "{})",
                      head_dim, c.hidden_size, c.num_heads));
  require(
      c.puzzle_emb_ndim > 0 || c.puzzle_emb_len == 0,
      fmt::format("arch.puzzle_emb_ndim=0 needs arch.puzzle_emb_len=0, not {}", c.puzzle_emb_len));
  require(
      c.puzzle_emb_ndim <= puzzle_emb_tokens(c) * c.hidden_size,
      fmt::format("arch.puzzle_emb_ndim {} does not fit into puzzle_emb_len {} x hidden_size {}",
                  c.puzzle_emb_ndim, puzzle_emb_tokens(c), c.hidden_size));
  if (c.puzzle_emb_ndim > 0) at_least("num_puzzle_identifiers", s.num_puzzle_identifiers, 1);
  if (c.kind == ModelKind::hrm || c.kind == ModelKind::transformers_baseline) {
    at_least("arch.H_layers", c.H_layers, 1);
  }
  if (c.kind != ModelKind::transformers_baseline) {
    at_least("arch.L_cycles", c.L_cycles, 1);
    at_least("arch.L_layers", c.L_layers, 1);
  }
  if (c.kind == ModelKind::trm_hier6) {
    require(c.L_cycles <= 6,
            fmt::format("arch.L_cycles must be at most 6 for trm_hier6, not {}", c.L_cycles));
  }
}

}  // namespace trm
