// The configuration of a training run: the reference's keys, defaults, command lines and
// all_config.yaml, plus a few keys of our own.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "trm/models/arch_config.h"

namespace trm {

struct EvaluatorConfig {
  std::string name = "arc@ARC";
  int64_t submission_K = 2;
  std::vector<int64_t> pass_Ks = {1, 2, 5, 10, 100, 1000};
  bool aggregated_voting = true;
};

/// Everything that decides a run. Units: `epochs` and `eval_interval` are passes over the groups of
/// the data set, as in the reference; `*_steps` are optimizer steps.
struct PretrainConfig {
  ArchConfig arch;
  std::vector<std::string> data_paths, data_paths_test;
  std::vector<EvaluatorConfig> evaluators;

  int64_t global_batch_size = 768;
  int64_t epochs = 100000;
  std::optional<int64_t> eval_interval;
  int64_t min_eval_interval = 0;
  bool checkpoint_every_eval = true;
  std::vector<std::string> eval_save_outputs;

  double lr = 1e-4, lr_min_ratio = 1.0;
  int64_t lr_warmup_steps = 2000;
  double beta1 = 0.9, beta2 = 0.95, weight_decay = 0.1;
  std::optional<double> muon_lr;  // Muon for the matrices of the layers
  double muon_momentum = 0.95, muon_weight_decay = 0.0;
  int64_t muon_iterations = 5;
  double puzzle_emb_lr = 1e-2, puzzle_emb_weight_decay = 0.1;

  int64_t seed = 0;
  bool ema = false;
  double ema_rate = 0.999;
  bool freeze_weights = false;
  std::optional<std::string> project_name, run_name, checkpoint_path, load_checkpoint;

  std::optional<int64_t> micro_batch_size, checkpoint_every_steps, keep_last, max_steps,
      max_eval_examples;
  std::optional<double> max_seconds;
  bool gradient_checkpointing = false;
  bool tensorboard = false;

  /// checkpoint_path, or checkpoints/<project_name>/<run_name>.
  std::filesystem::path run_folder() const;
};

/// Reads `file` (a path, or a name of embedded_configs() with or without ".yaml"; none:
/// cfg_pretrain), follows its `defaults`, applies the Hydra-style overrides in order (`key=value`,
/// `+key=value`, `arch=NAME`, `arch.key=value`) and resolves `${...}`. Throws std::invalid_argument
/// for unknown keys (naming the nearest), wrong types and impossible values.
PretrainConfig load_config(const std::optional<std::string>& file,
                           const std::vector<std::string>& overrides);

/// Reads an all_config.yaml of ours or the reference's. Keys it lacks take the defaults of its
/// model; keys that mean nothing to us are passed over.
PretrainConfig load_run_config(const std::filesystem::path& file,
                               const std::vector<std::string>& overrides = {});

/// The architecture alone: of `all_config` (none: the defaults of arch/trm.yaml) with overrides
/// `arch=NAME` and `arch.key=value`; the other overrides are checked and have no effect.
ArchConfig load_arch_config(const std::optional<std::filesystem::path>& all_config,
                            const std::vector<std::string>& overrides = {});

/// The same from the text of an all_config.yaml; `name` is only named in errors.
ArchConfig parse_arch_config(const std::string& all_config, const std::string& name,
                             const std::vector<std::string>& overrides = {});

/// The overrides that turn the defaults into `config`: "arch=trm", "arch.hidden_size=512", …
std::vector<std::string> to_overrides(const ArchConfig& config);

/// all_config.yaml in the reference's nested shape.
std::string to_yaml(const PretrainConfig& config);

/// "key: a -> b" for each key that changes what a run computes and differs.
std::vector<std::string> differences(const PretrainConfig& from, const PretrainConfig& to);

/// Fills in project_name (from the first data path) and run_name (made up from `salt`).
void name_run(PretrainConfig& config, uint64_t salt);

/// Throws std::invalid_argument for values no run can have, naming key and value.
void validate(const PretrainConfig& config);

}  // namespace trm
