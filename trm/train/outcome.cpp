#include "trm/train/outcome.h"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <type_traits>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "trm/checkpoint/checkpoint.h"

namespace trm {

namespace {
constexpr std::array kOutputs = {"inputs", "labels", "puzzle_identifiers", "preds",
                                 "q_halt_logits"};
}

void check_outputs(const std::vector<std::string>& names) {
  for (auto& name : names) {
    if (std::find(kOutputs.begin(), kOutputs.end(), name) == kOutputs.end()) {
      throw std::invalid_argument(fmt::format("[config] eval_save_outputs knows {}; not '{}'",
                                              fmt::join(kOutputs, ", "), name));
    }
  }
}

void save_outputs(const std::filesystem::path& file, const std::vector<std::string>& names,
                  const PuzzleDataset& test, const Evaluation& evaluation) {
  int rows = static_cast<int>(evaluation.rows), cells = evaluation.cells;
  int steps = static_cast<int>(evaluation.preds.size());
  Batch batch = test.empty_batch(rows);
  for (int row = 0; row < rows; ++row) test.fill_row(row, test.identifier_of(row), row, batch);
  auto tokens = [&](const std::vector<int32_t>& v) {
    return mx::array(v.data(), {rows, cells}, mx::int32);
  };
  NamedArrays arrays;
  for (auto& name : names) {
    if (name == "inputs") arrays.emplace_back(name, tokens(batch.inputs));
    if (name == "labels") arrays.emplace_back(name, tokens(batch.labels));
    if (name == "puzzle_identifiers") {
      arrays.emplace_back(name, mx::array(batch.puzzle_identifiers.data(), {rows}, mx::int32));
    }
    Arrays per_step;
    if (name == "preds") {
      for (auto& preds : evaluation.preds) per_step.push_back(tokens(preds));
    } else if (name == "q_halt_logits") {
      for (auto& q : evaluation.q_halt) {
        per_step.push_back(mx::array(q.data(), {rows}, mx::float32));
      }
    }
    if (steps > 0 && !per_step.empty()) arrays.emplace_back(name, mx::stack(per_step));
  }
  save_npz(file, arrays);
}

std::vector<ArcVoting> make_evaluators(const PretrainConfig& config,
                                       const std::function<void(const std::string&)>& notice) {
  std::vector<ArcVoting> out;
  if (config.evaluators.empty()) return out;
  auto& paths = config.data_paths_test.empty() ? config.data_paths : config.data_paths_test;
  std::filesystem::path data = paths.front();
  if (paths.size() != 1 || !std::filesystem::exists(data / "test_puzzles.json")) {
    notice(
        fmt::format("evaluators: ARC voting needs one data set with test_puzzles.json, which {} is "
                    "not; pass evaluators=\"[]\" where it is not wanted",
                    data.string()));
    return out;
  }
  for (auto& e : config.evaluators) {
    ArcVotingOptions options;
    options.pooled = e.aggregated_voting;
    options.attempts = static_cast<int>(e.submission_K);
    options.pass_at.assign(e.pass_Ks.begin(), e.pass_Ks.end());
    out.emplace_back(data, options);
  }
  return out;
}

std::string not_finite_message(const TrainState& state, int64_t step, double loss,
                               int64_t saved_step) {
  std::vector<std::string> bad;
  auto check = [&](const std::string& name, const mx::array& a) {
    if (!mx::all(mx::isfinite(a)).item<bool>()) bad.push_back(name);
  };
  for (auto& [name, a] : named_arrays(state.model)) check(name, a);
  auto names = trainable_names(state.model);
  for (size_t i = 0; i < names.size(); ++i) {
    check("adam_m." + names[i], state.m[i]);
    check("adam_v." + names[i], state.v[i]);
  }
  auto latents = state.model.latent_names();
  for (size_t i = 0; i < latents.size(); ++i) check("carry." + latents[i], state.carry.z[i]);
  size_t more = bad.size() > 6 ? bad.size() - 6 : 0;
  bad.resize(bad.size() - more);
  return fmt::format(
      "[pretrain] the loss is {} at step {}; after it, not finite are: {}{}. {}. Lower lr, or "
      "raise "
      "lr_warmup_steps",
      loss, step, bad.empty() ? "none of the weights" : fmt::format("{}", fmt::join(bad, ", ")),
      more ? fmt::format(" and {} more", more) : "",
      saved_step >= 0 ? fmt::format("The checkpoint of step {} is kept", saved_step)
                      : "No checkpoint was due before");
}

void gather_answers(const Ranks& ranks, int64_t rows, int64_t global_batch_size,
                    Evaluation& evaluation) {
  if (ranks.size() == 1) return;
  int64_t slice = global_batch_size / ranks.size();
  int64_t padded = (rows + global_batch_size - 1) / global_batch_size * slice;  // of each process
  auto gather = [&](auto& kept, int width) {
    using Value = typename std::decay_t<decltype(kept)>::value_type;
    kept.resize(static_cast<size_t>(padded * width));
    auto all = ranks.gather(mx::array(kept.data(), {static_cast<int>(padded), width},
                                      std::is_same_v<Value, float> ? mx::float32 : mx::int32));
    mx::eval(all);
    kept.resize(static_cast<size_t>(rows * width));
    for (int64_t row = 0; row < rows; ++row) {
      int64_t batch = row / global_batch_size, within = row % global_batch_size;
      int64_t from = within / slice * padded + batch * slice + within % slice;
      std::copy_n(all.template data<Value>() + from * width, width, kept.data() + row * width);
    }
  };
  for (auto& preds : evaluation.preds) gather(preds, evaluation.cells);
  for (auto& q : evaluation.q_halt) gather(q, 1);
  evaluation.rows = rows;
}

ArcVoting gathered(const Ranks& ranks, ArcVoting votes) {
  if (ranks.size() == 1) return votes;
  auto states = ranks.gather(votes.state());
  votes.forget();
  for (auto& state : states) votes.merge(state);
  return votes;
}

Carry gathered(const Ranks& ranks, const Carry& carry) {
  auto g = [&](const mx::array& a) { return ranks.gather(a); };
  Latents z;
  for (auto& a : carry.z) z.push_back(g(a));
  return {z,
          g(carry.steps),
          g(carry.halted),
          {g(carry.current.inputs), g(carry.current.labels), g(carry.current.puzzle_identifiers)}};
}

}  // namespace trm
