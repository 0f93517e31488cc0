// Values that no run can have, and the names of runs that were given none.
#include <array>
#include <cctype>
#include <filesystem>
#include <stdexcept>

#include <fmt/format.h>

#include "trm/train/config.h"
#include "trm/train/config_tree.h"

namespace trm {

void validate(const PretrainConfig& c) {
  auto require = [](bool ok, const char* key, const std::string& text) {
    if (!ok) throw std::invalid_argument(fmt::format("[config] {} {}", key, text));
  };
  auto positive = [&](const char* key, auto value) {
    require(value > 0, key, fmt::format("must be greater than 0, not {}", value));
  };
  auto not_negative = [&](const char* key, auto value) {
    require(value >= 0, key, fmt::format("must not be negative, not {}", value));
  };
  auto optional_positive = [&](const char* key, auto& value) {
    if (value) positive(key, *value);
  };
  require(!c.data_paths.empty(), "data_paths", "must name at least one data set");
  positive("global_batch_size", c.global_batch_size);
  positive("epochs", c.epochs);
  optional_positive("eval_interval", c.eval_interval);
  if (c.eval_interval) {
    require(c.epochs % *c.eval_interval == 0, "eval_interval",
            fmt::format("must divide epochs: {} is no multiple of {}", c.epochs, *c.eval_interval));
  }
  not_negative("min_eval_interval", c.min_eval_interval);
  not_negative("lr", c.lr);
  not_negative("lr_min_ratio", c.lr_min_ratio);
  not_negative("lr_warmup_steps", c.lr_warmup_steps);
  not_negative("weight_decay", c.weight_decay);
  optional_positive("muon_lr", c.muon_lr);
  require(c.muon_momentum >= 0 && c.muon_momentum < 1, "muon_momentum",
          fmt::format("must lie in [0, 1), not {}", c.muon_momentum));
  not_negative("muon_weight_decay", c.muon_weight_decay);
  require(c.muon_iterations >= 1 && c.muon_iterations <= 20, "muon_iterations",
          fmt::format("must be 1 to 20, not {}", c.muon_iterations));
  not_negative("puzzle_emb_lr", c.puzzle_emb_lr);
  not_negative("puzzle_emb_weight_decay", c.puzzle_emb_weight_decay);
  not_negative("seed", c.seed);
  for (auto [key, beta] : {std::pair{"beta1", c.beta1}, {"beta2", c.beta2}}) {
    require(beta >= 0 && beta < 1, key, fmt::format("must lie in [0, 1), not {}", beta));
  }
  require(c.ema_rate >= 0 && c.ema_rate <= 1, "ema_rate",
          fmt::format("must lie in [0, 1], not {}", c.ema_rate));
  optional_positive("micro_batch_size", c.micro_batch_size);
  optional_positive("checkpoint_every_steps", c.checkpoint_every_steps);
  optional_positive("keep_last", c.keep_last);
  optional_positive("max_steps", c.max_steps);
  optional_positive("max_eval_examples", c.max_eval_examples);
  optional_positive("max_seconds", c.max_seconds);
  for (auto& evaluator : c.evaluators) {
    require(evaluator.name == "arc@ARC", "evaluators",
            fmt::format("knows only arc@ARC, not '{}'", printable(evaluator.name)));
  }
}

void name_run(PretrainConfig& config, uint64_t salt) {
  if (!config.project_name) {
    auto path = std::filesystem::path(config.data_paths.front()).lexically_normal();
    std::string name = (path.has_filename() ? path : path.parent_path()).filename().string();
    for (auto& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    if (!name.empty()) {
      name[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(name[0])));
    }
    config.project_name = name + "-ACT-mlx";
  }
  if (!config.run_name) {
    constexpr std::array kColours = {"amber",  "azure", "coral",  "crimson", "golden", "hazel",
                                     "indigo", "ivory", "jade",   "lilac",   "maroon", "ochre",
                                     "olive",  "pearl", "russet", "scarlet", "silver", "teal"};
    constexpr std::array kAnimals = {"badger", "crane",  "dolphin", "falcon", "gecko",  "heron",
                                     "ibex",   "jackal", "koala",   "lynx",   "marten", "newt",
                                     "otter",  "puffin", "quail",   "raven",  "stoat",  "wren"};
    config.run_name = fmt::format(
        "{}-{}-{}-{:04x}", to_string(config.arch.kind), kColours[salt % kColours.size()],
        kAnimals[salt / kColours.size() % kAnimals.size()], (salt >> 16) & 0xffff);
  }
}

}  // namespace trm
