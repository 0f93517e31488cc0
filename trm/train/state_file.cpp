#include "trm/train/state_file.h"

#include <stdexcept>
#include <unordered_map>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "trm/checkpoint/checkpoint.h"

namespace trm {

namespace {

constexpr const char* kFormat = "trm training state 1";

/// Every array of a state with its name in the file.
template <class State, class F>
void each_array(State& state, F&& f) {
  visit(state.model, [&](const std::string& name, auto& leaf, bool) { f(name, leaf); });
  auto names = trainable_names(state.model);
  for (size_t i = 0; i < names.size(); ++i) {
    f("adam_m." + names[i], state.m.at(i));
    f("adam_v." + names[i], state.v.at(i));
    if (state.ema) f("ema." + names[i], state.ema->at(i));
  }
  auto latents = state.model.latent_names();
  for (size_t i = 0; i < latents.size(); ++i) f("carry." + latents[i], state.carry.z.at(i));
  f("carry.steps", state.carry.steps);
  f("carry.halted", state.carry.halted);
  f("carry.inputs", state.carry.current.inputs);
  f("carry.labels", state.carry.current.labels);
  f("carry.puzzle_identifiers", state.carry.current.puzzle_identifiers);
  f("key", state.key);
}

}  // namespace

void save_state(const std::filesystem::path& file, const TrainState& state,
                const RunPosition& position) {
  NamedArrays arrays;
  each_array(state,
             [&](const std::string& name, const mx::array& a) { arrays.emplace_back(name, a); });
  std::string meta = nlohmann::json{
      {"format", kFormat},
      {"step", state.step},
      {"elapsed", position.elapsed},
      {"cursor",
       position.cursor}}.dump();
  arrays.emplace_back("meta", mx::array(reinterpret_cast<const uint8_t*>(meta.data()),
                                        {static_cast<int>(meta.size())}, mx::uint8));
  save_npz(file, arrays);
}

RunPosition load_state(const std::filesystem::path& file, TrainState& state) {
  auto fail = [&](const std::string& what) {
    throw std::runtime_error(fmt::format("[resume] {}: {}", file.string(), what));
  };
  CheckpointOptions options;
  options.strip_orig_mod = false;
  auto checkpoint = load_checkpoint(file, options);
  std::unordered_map<std::string, mx::array> found;
  Arrays all;
  for (auto& [name, array] : checkpoint.tensors) {
    found.emplace(name, array);
    all.push_back(array);
  }
  mx::eval(all);  // reads the file, so that damage shows here

  auto meta = found.find("meta");
  if (meta == found.end() || meta->second.dtype() != mx::uint8) fail("is no training state");
  auto text = meta->second.data<uint8_t>();
  auto json = nlohmann::json::parse(text, text + meta->second.size(), nullptr, false);
  RunPosition position;
  try {
    if (json.at("format") != kFormat) fail("is a training state of another version");
    state.step = json.at("step").get<int64_t>();
    position.elapsed = json.at("elapsed").get<double>();
    position.cursor = json.at("cursor").get<std::string>();
  } catch (const nlohmann::json::exception&) {
    fail("is no training state: its `meta` is damaged");
  }
  size_t used = 1;
  each_array(state, [&](const std::string& name, mx::array& a) {
    auto entry = found.find(name);
    if (entry == found.end()) fail(fmt::format("holds no '{}', which this run has", name));
    if (entry->second.shape() != a.shape() || entry->second.dtype() != a.dtype()) {
      fail(fmt::format("'{}' has another shape or dtype than in this run", name));
    }
    a = entry->second;
    ++used;
  });
  if (used != found.size()) fail("holds arrays that this run has not (another model, or its EMA)");
  return position;
}

}  // namespace trm
