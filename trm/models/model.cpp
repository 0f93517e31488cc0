#include "trm/models/model.h"

#include <map>
#include <stdexcept>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace trm {

const InputOutput& Model::io() const {
  return std::visit([](auto& m) -> const InputOutput& { return m.io; }, inner);
}

InputOutput& Model::io() {
  return std::visit([](auto& m) -> InputOutput& { return m.io; }, inner);
}

std::vector<std::string> Model::latent_names() const {
  return std::visit([](auto& m) { return m.latent_names(); }, inner);
}

Latents Model::initial() const {
  auto z = std::visit([](auto& m) { return m.initial(); }, inner);
  for (auto& a : z) a = mx::reshape(mx::astype(a, io().dtype), {1, 1, -1});
  return z;
}

Latents Model::without_gradient(Latents z, const mx::array& x) const {
  return std::visit([&](auto& m) { return m.without_gradient(std::move(z), x); }, inner);
}

Latents Model::with_gradient(Latents z, const mx::array& x) const {
  return std::visit([&](auto& m) { return m.with_gradient(std::move(z), x); }, inner);
}

bool Model::uses_q_continue() const {
  return config.kind == ModelKind::hrm ||
         (config.kind != ModelKind::transformers_baseline && !config.no_ACT_continue);
}

Model make_model(const ArchConfig& config, const DataShape& shape, const mx::array& key) {
  validate(config, shape);
  KeySequence keys(key);
  switch (config.kind) {
    case ModelKind::trm:
      return {config, shape, make_trm(config, shape, keys)};
    case ModelKind::trm_hier6:
      return {config, shape, make_trm_hier6(config, shape, keys)};
    case ModelKind::trm_singlez:
      return {config, shape, make_trm_singlez(config, shape, keys)};
    case ModelKind::hrm:
      return {config, shape, make_hrm(config, shape, keys)};
    case ModelKind::transformers_baseline:
      return {config, shape, make_transformers_baseline(config, shape, keys)};
  }
  throw std::invalid_argument("[model] unknown kind");
}

Model with_arrays(Model model, const NamedArrays& arrays) {
  std::map<std::string, mx::array> given(arrays.begin(), arrays.end());
  std::vector<std::string> missing, misshaped, unexpected;
  visit(model, [&](const std::string& name, mx::array& leaf, bool) {
    auto it = given.find(name);
    if (it == given.end()) {
      missing.push_back(name);
      return;
    }
    if (it->second.shape() != leaf.shape()) {
      misshaped.push_back(fmt::format("{} is ({}), not ({})", name,
                                      fmt::join(it->second.shape(), ", "),
                                      fmt::join(leaf.shape(), ", ")));
    } else {
      leaf = mx::astype(it->second, leaf.dtype());
    }
    given.erase(it);
  });
  for (auto& [name, array] : given) unexpected.push_back(name);
  if (missing.empty() && unexpected.empty() && misshaped.empty()) return model;
  std::string what = "[load] the checkpoint does not fit the architecture";
  if (!missing.empty()) what += fmt::format("; missing: {}", fmt::join(missing, ", "));
  if (!unexpected.empty()) what += fmt::format("; unexpected: {}", fmt::join(unexpected, ", "));
  if (!misshaped.empty()) what += fmt::format("; wrong shape: {}", fmt::join(misshaped, ", "));
  throw std::invalid_argument(what);
}

Model with_forward_dtype(Model model, const std::string& dtype) {
  model.io().dtype = dtype_of(dtype);
  model.config.forward_dtype = dtype;
  return model;
}

}  // namespace trm
