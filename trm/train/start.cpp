#include "trm/train/start.h"

#include <algorithm>
#include <random>
#include <stdexcept>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "trm/checkpoint/checkpoint.h"
#include "trm/train/memory.h"
#include "trm/train/run_folder.h"

namespace trm {

namespace fs = std::filesystem;

namespace {

constexpr const char* kPuzzleTable = "model.inner.puzzle_emb.weights";

std::string mebibytes(int64_t bytes) {
  return fmt::format("{:.0f} MB", static_cast<double>(bytes) / (1 << 20));
}

/// A table of another size is filled with its mean row, as the reference does.
void resize_puzzle_table(NamedArrays& arrays, const Model& model,
                         const std::function<void(const std::string&)>& notice) {
  if (!model.io().puzzle_emb) return;
  auto& wanted = model.io().puzzle_emb->weights.value;
  for (auto& [name, table] : arrays) {
    bool other = name == kPuzzleTable && table.ndim() == 2 && table.shape() != wanted.shape();
    if (!other || table.shape(1) != wanted.shape(1) || table.shape(0) == 0) continue;
    notice(
        fmt::format("puzzle embedding: {} rows in the checkpoint, {} here; all set to the mean row",
                    table.shape(0), wanted.shape(0)));
    table = mx::contiguous(mx::broadcast_to(mx::mean(table, 0, true), wanted.shape()));
  }
}

std::vector<fs::path> paths(const std::vector<std::string>& names) {
  return {names.begin(), names.end()};
}

}  // namespace

RunRequest new_run(PretrainConfig config) {
  std::random_device random;
  name_run(config, (static_cast<uint64_t>(random()) << 32) | random());
  RunRequest request;
  request.folder = config.run_folder();
  request.config = std::move(config);
  return request;
}

RunRequest resumed_run(const fs::path& from, const std::vector<std::string>& overrides,
                       bool override) {
  auto point = resume_point(from);
  auto file = point.folder / "all_config.yaml";
  RunRequest request{load_run_config(file, overrides), point.folder, true, point.step, false};
  auto changed = differences(load_run_config(file), request.config);
  if (!changed.empty() && !override) {
    throw std::invalid_argument(
        fmt::format("[resume] this changes what the run computes: {}; add resume_override=true if "
                    "that is meant",
                    fmt::join(changed, "; ")));
  }
  request.rewrite_config = !changed.empty();
  return request;
}

RunData load_run_data(const PretrainConfig& config) {
  RunData data;
  data.train = std::make_unique<PuzzleDataset>(paths(config.data_paths), "train");
  auto& meta = data.train->metadata();
  data.shape = {static_cast<int>(meta.seq_len), static_cast<int>(meta.vocab_size),
                static_cast<int>(meta.num_puzzle_identifiers)};
  auto& names = config.data_paths_test.empty() ? config.data_paths : config.data_paths_test;
  bool asked = !config.data_paths_test.empty();
  for (auto& name : names) {
    if (!asked && !fs::exists(fs::path(name) / "test" / "dataset.json")) {
      data.no_test = fmt::format("{} has no test split: nothing will be evaluated", name);
      return data;
    }
  }
  data.test = std::make_unique<PuzzleDataset>(paths(names), "test");
  auto& test = data.test->metadata();
  if (test.seq_len != meta.seq_len || test.vocab_size != meta.vocab_size) {
    throw std::runtime_error(fmt::format(
        "[pretrain] test data of {} cells and {} tokens do not fit training data of {} and {}",
        test.seq_len, test.vocab_size, meta.seq_len, meta.vocab_size));
  }
  return data;
}

Model starting_model(const PretrainConfig& config, const DataShape& shape, const mx::array& key,
                     bool load, const std::function<void(const std::string&)>& notice) {
  Model model = make_model(config.arch, shape, key);
  model.io().context.recompute = config.gradient_checkpointing;
  if (!load || !config.load_checkpoint) return model;
  auto checkpoint = load_checkpoint(*config.load_checkpoint);
  for (auto& note : checkpoint.notes) notice(note);
  NamedArrays arrays(checkpoint.tensors.begin(), checkpoint.tensors.end());
  resize_puzzle_table(arrays, model, notice);
  try {
    return with_arrays(std::move(model), arrays);
  } catch (const std::invalid_argument& e) {
    throw std::runtime_error(
        fmt::format("[pretrain] load_checkpoint={}: {}", *config.load_checkpoint, e.what()));
  }
}

Hyperparameters hyperparameters(const PretrainConfig& c, int64_t total_steps, const Ranks& ranks) {
  Hyperparameters h;
  h.global_batch_size = static_cast<int>(c.global_batch_size);
  h.lr = c.lr;
  h.lr_min_ratio = c.lr_min_ratio;
  h.lr_warmup_steps = c.lr_warmup_steps;
  h.total_steps = total_steps;
  h.adam = {c.weight_decay, c.beta1, c.beta2};
  if (c.muon_lr) {
    h.muon = MuonOptions{*c.muon_lr, c.muon_momentum, c.muon_weight_decay,
                         static_cast<int>(c.muon_iterations)};
  }
  h.puzzle_emb_lr = c.puzzle_emb_lr;
  h.puzzle_emb_weight_decay = c.puzzle_emb_weight_decay;
  h.freeze_weights = c.freeze_weights;
  h.ema_rate = c.ema_rate;
  h.micro_batch_size = static_cast<int>(c.micro_batch_size.value_or(0));
  h.first_row = ranks.rank() * h.global_batch_size / ranks.size();
  return h;
}

RunFacts run_facts(const PretrainConfig& config, const TrainState& state, const RunData& data,
                   const Ranks& ranks) {
  RunFacts facts;
  facts.train_examples = data.train->examples();
  facts.test_examples = data.test ? data.test->examples() : 0;
  facts.groups = data.train->groups();
  facts.data = data.shape;
  for (auto& a : trainable(state.model)) facts.parameters += static_cast<int64_t>(a.size());
  if (auto& table = state.model.io().puzzle_emb) {
    facts.puzzle_parameters = static_cast<int64_t>(table->weights.value.size());
  }
  for (auto& [name, a] : named_arrays(state.model)) {
    facts.weight_bytes += static_cast<int64_t>(a.nbytes());
  }
  for (auto& a : state_arrays(state)) facts.state_bytes += static_cast<int64_t>(a.nbytes());
  int64_t rows = config.global_batch_size / ranks.size();
  if (config.micro_batch_size) rows = std::min(rows, *config.micro_batch_size);
  facts.step_bytes = step_bytes(state.model, rows);
  facts.device_bytes = memory_of_device();
  facts.device = mx::default_device() == mx::Device::gpu ? "GPU" : "CPU";
  facts.processes = ranks.size();
  return facts;
}

void require_memory(const RunFacts& facts, const PretrainConfig& config) {
  int64_t needed = facts.state_bytes + facts.step_bytes;
  if (facts.device_bytes == 0 || needed <= facts.device_bytes) return;
  throw std::runtime_error(fmt::format(
      "[pretrain] a step needs about {} and there are {}: lower global_batch_size ({}), or "
      "set micro_batch_size to compute it in parts{}{}",
      mebibytes(needed), mebibytes(facts.device_bytes), config.global_batch_size,
      config.micro_batch_size ? fmt::format(" smaller than {}", *config.micro_batch_size) : "",
      config.gradient_checkpointing ? "" : ", or gradient_checkpointing=True"));
}

}  // namespace trm
