#include "trm/eval/load_model.h"

#include <map>
#include <stdexcept>

#include <fmt/format.h>

#include "trm/checkpoint/checkpoint.h"
#include "trm/train/config.h"

namespace trm {

namespace {

const std::string kRoot = "model.inner.";

const mx::array* find(const NamedArrays& weights, const std::string& name) {
  for (auto& [n, array] : weights) {
    if (n == kRoot + name) return &array;
  }
  return nullptr;
}

const mx::array& need(const NamedArrays& weights, const std::string& name, int ndim) {
  auto found = find(weights, name);
  if (!found) {
    throw std::invalid_argument(
        fmt::format("[load] not a TRM checkpoint: it has no {}{} (trm inspect lists what it has)",
                    kRoot, name));
  }
  if (static_cast<int>(found->ndim()) != ndim) {
    throw std::invalid_argument(
        fmt::format("[load] {}{} has {} dimensions, not {}", kRoot, name, found->ndim(), ndim));
  }
  return *found;
}

int count_layers(const NamedArrays& weights, const std::string& level) {
  int layers = 0;
  while (find(weights, fmt::format("{}.layers.{}.mlp.gate_up_proj.weight", level, layers)))
    ++layers;
  return layers;
}

// The smallest expansion in steps of a half that gives these inner sizes: 4 where 4 fits.
float infer_expansion(int hidden, int inner, int tokens, int token_inner) {
  auto fits = [&](float e) {
    return swiglu_inner(hidden, e) == inner && (!tokens || swiglu_inner(tokens, e) == token_inner);
  };
  if (fits(4.0f)) return 4.0f;
  for (int halves = 1; halves <= 64; ++halves) {
    if (fits(0.5f * static_cast<float>(halves))) return 0.5f * static_cast<float>(halves);
  }
  throw std::invalid_argument(fmt::format(
      "[load] no expansion gives an inner size of {} for hidden_size {}", inner, hidden));
}

ModelKind infer_kind(const NamedArrays& weights) {
  bool H = count_layers(weights, "H_level") > 0, L = count_layers(weights, "L_level") > 0;
  if (H) return L ? ModelKind::hrm : ModelKind::transformers_baseline;
  if (find(weights, "L1_init")) return ModelKind::trm_hier6;
  return find(weights, "H_init") ? ModelKind::trm : ModelKind::trm_singlez;
}

}  // namespace

ArchConfig infer_arch(const NamedArrays& weights, std::vector<std::string>& notes) {
  auto kind = infer_kind(weights);
  auto config = load_arch_config(std::nullopt, {fmt::format("arch={}", to_string(kind))});
  std::string level = kind == ModelKind::transformers_baseline ? "H_level" : "L_level";
  auto first = level + ".layers.0.";
  config.hidden_size = need(weights, "embed_tokens.embedding_weight", 2).shape(1);
  config.H_layers = count_layers(weights, "H_level");
  config.L_layers = count_layers(weights, "L_level");
  auto puzzle_emb = find(weights, "puzzle_emb.weights");
  config.puzzle_emb_ndim = puzzle_emb ? puzzle_emb->shape(-1) : 0;
  if (!puzzle_emb) config.puzzle_emb_len = 0;

  auto token_mlp = find(weights, first + "mlp_t.down_proj.weight");
  config.mlp_t = token_mlp != nullptr;
  config.pos_encodings = find(weights, "embed_pos.embedding_weight") ? PosEncoding::learned
                         : config.mlp_t                              ? PosEncoding::none
                                                                     : PosEncoding::rope;
  config.expansion =
      infer_expansion(config.hidden_size, need(weights, first + "mlp.down_proj.weight", 2).shape(1),
                      token_mlp ? token_mlp->shape(0) : 0, token_mlp ? token_mlp->shape(1) : 0);
  std::string assumed = fmt::format("H_cycles={} L_cycles={}", config.H_cycles, config.L_cycles);
  if (puzzle_emb) assumed += fmt::format(" puzzle_emb_len={}", puzzle_emb_tokens(config));
  if (!config.mlp_t) {
    assumed += fmt::format(" num_heads={} pos_encodings={}", config.num_heads,
                           to_string(config.pos_encodings));
  }
  notes.push_back(fmt::format(
      "no all_config.yaml beside the checkpoint: architecture {} read from the tensors' shapes; "
      "assumed, as the reference's defaults: {} (override with arch.KEY=VALUE)",
      to_string(kind), assumed));
  return config;
}

DataShape infer_shape(const ArchConfig& config, const NamedArrays& weights,
                      std::optional<int> given) {
  DataShape shape;
  shape.vocab_size = need(weights, "embed_tokens.embedding_weight", 2).shape(0);
  auto puzzle_emb = find(weights, "puzzle_emb.weights");
  shape.num_puzzle_identifiers = puzzle_emb ? puzzle_emb->shape(0) : 0;
  std::optional<int> tokens;
  if (auto pos = find(weights, "embed_pos.embedding_weight")) tokens = pos->shape(0);
  for (auto level : {"H_level", "L_level"}) {
    auto mlp_t = find(weights, std::string(level) + ".layers.0.mlp_t.down_proj.weight");
    if (mlp_t) tokens = mlp_t->shape(0);
  }
  if (tokens) {
    shape.seq_len = *tokens - puzzle_emb_tokens(config);
    if (given && *given != shape.seq_len) {
      throw std::invalid_argument(
          fmt::format("[load] the checkpoint is for puzzles of {} cells, not {} ({} tokens less {} "
                      "of the puzzle embedding)",
                      shape.seq_len, *given, *tokens, puzzle_emb_tokens(config)));
    }
  } else if (given) {
    shape.seq_len = *given;
  } else {
    throw std::invalid_argument(
        "[load] the weights of an attention model do not tell how many cells a puzzle has");
  }
  return shape;
}

LoadedModel load_model(const std::filesystem::path& path, const LoadModelOptions& options) {
  auto checkpoint = load_checkpoint(path);
  auto& weights = checkpoint.tensors;
  std::vector<std::string> notes;
  ArchConfig config;
  auto all_config = path.parent_path() / "all_config.yaml";
  if (auto own = checkpoint.metadata.find("all_config"); own != checkpoint.metadata.end()) {
    config = parse_arch_config(own->second, path.string() + ": all_config", options.overrides);
  } else if (std::filesystem::exists(all_config)) {
    config = load_arch_config(all_config, options.overrides);
  } else {
    auto all = to_overrides(infer_arch(weights, notes));
    all.insert(all.end(), options.overrides.begin(), options.overrides.end());
    config = load_arch_config(std::nullopt, all);
  }
  if (options.dtype) config.forward_dtype = *options.dtype;
  auto shape = infer_shape(config, weights, options.seq_len);
  auto model = make_model(config, shape, mx::random::key(0));
  return {with_arrays(std::move(model), weights), std::move(notes)};
}

}  // namespace trm
