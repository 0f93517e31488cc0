#include "tests/golden.h"

#include <cmath>
#include <fstream>
#include <stdexcept>

#include <fmt/format.h>

#include "trm/act.h"
#include "trm/checkpoint/checkpoint.h"

namespace trm::golden {

namespace {
std::filesystem::path file_of(const std::string& name) {
  auto carried = std::filesystem::path(TRM_SOURCE_DIR) / "tests/fixtures/golden" / name;
  if (std::filesystem::exists(carried)) return carried;
  return shared_folder() / name;
}
}  // namespace

const mx::array& Golden::at(const std::string& key) const {
  auto it = arrays.find(key);
  if (it == arrays.end()) throw std::out_of_range("golden data has no " + key);
  return it->second;
}

std::filesystem::path shared_folder() {
  auto folder = std::filesystem::path(TRM_SOURCE_DIR) / "../shared/golden";
  return std::filesystem::exists(folder) ? folder : std::filesystem::path();
}

bool available(const std::string& name) { return std::filesystem::exists(file_of(name + ".json")); }

Golden load(const std::string& name) {
  std::ifstream in(file_of(name + ".json"));
  if (!in) throw std::runtime_error("no golden data " + name);
  auto json = nlohmann::json::parse(in);
  Golden golden{std::move(json), {}};
  auto tensors = file_of(name + ".safetensors");
  if (std::filesystem::exists(tensors)) {
    for (auto& [key, array] : load_checkpoint(tensors).tensors) golden.arrays.emplace(key, array);
  }
  return golden;
}

NamedArrays load_weights(const std::string& file) { return load_checkpoint(file_of(file)).tensors; }

Model make_golden_model(const nlohmann::json& json, const NamedArrays& weights) {
  const auto& c = json.contains("effective_config") ? json["effective_config"] : json["config"];
  ArchConfig a;
  a.kind = model_kind(json.value("arch", "trm"));
  a.loss = loss_kind(json.value("loss_type", "stablemax_cross_entropy"));
  a.H_cycles = c["H_cycles"];
  a.L_cycles = c.value("L_cycles", a.L_cycles);
  a.H_layers = c["H_layers"];
  a.L_layers = c.value("L_layers", a.L_layers);
  a.hidden_size = c["hidden_size"];
  a.num_heads = c["num_heads"];
  a.expansion = c["expansion"];
  a.puzzle_emb_ndim = c["puzzle_emb_ndim"];
  bool fixed_prefix = a.kind != ModelKind::hrm && a.kind != ModelKind::transformers_baseline;
  a.puzzle_emb_len = c.value("puzzle_emb_len", fixed_prefix ? 16 : 0);
  a.pos_encodings = pos_encoding(c["pos_encodings"]);
  a.mlp_t = c.value("mlp_t", false);
  a.forward_dtype = c["forward_dtype"];
  a.halt_max_steps = c["halt_max_steps"];
  a.halt_exploration_prob = c["halt_exploration_prob"];
  a.no_ACT_continue = c.value("no_ACT_continue", true);
  DataShape shape{c["seq_len"], c["vocab_size"], c["num_puzzle_identifiers"]};
  return with_arrays(make_model(a, shape, mx::random::key(0)), weights);
}

std::string difference(const mx::array& actual_in, const mx::array& expected_in, Tolerance t) {
  if (actual_in.shape() != expected_in.shape()) return "shapes differ";
  auto actual = mx::astype(actual_in, mx::float32, mx::Device::cpu);
  auto expected = mx::astype(expected_in, mx::float32, mx::Device::cpu);
  actual = mx::contiguous(mx::flatten(actual)), expected = mx::contiguous(mx::flatten(expected));
  mx::eval(actual, expected);
  const float* a = actual.data<float>();
  const float* b = expected.data<float>();
  size_t worst = 0, wrong = 0;
  double worst_excess = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    double excess = std::abs(double(a[i]) - b[i]) - (t.absolute + t.relative * std::abs(b[i]));
    if (excess > 0 || std::isnan(excess)) {
      ++wrong;
      if (!(excess <= worst_excess)) worst = i, worst_excess = excess;
    }
  }
  if (wrong == 0) return "";
  return fmt::format("{} of {} differ, most at {}: {} instead of {}", wrong, actual.size(), worst,
                     a[worst], b[worst]);
}

std::string difference(double actual, double expected, Tolerance t) {
  if (std::abs(actual - expected) <= t.absolute + t.relative * std::abs(expected)) return "";
  return fmt::format("{} instead of {}", actual, expected);
}

}  // namespace trm::golden
