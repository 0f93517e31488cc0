// Golden data: what the PyTorch reference computed, in ../shared/golden (optional), and the small
// part of it that the project carries in tests/fixtures/golden.
#pragma once

#include <filesystem>
#include <string>
#include <unordered_map>

#include <nlohmann/json.hpp>

#include "trm/models/model.h"

namespace trm::golden {

/// How far float32 results may be from the reference's: |a - b| <= absolute + relative * |b|.
struct Tolerance {
  double relative, absolute;
};
// Sums of up to 1536 products in another order: a few float32 roundings of the largest term.
constexpr Tolerance kForward{1e-4, 1e-5};
// Gradients pass through up to 14 layers of those, and are sums over all tokens.
constexpr Tolerance kGradient{1e-4, 1e-6};
// Ours is float32 where the reference sums the loss in float64.
constexpr Tolerance kLoss{1e-5, 1e-6};
// One elementwise formula.
constexpr Tolerance kOptimizer{1e-6, 1e-7};
// 20 steps; the reference moves by up to 6e-7 when its initial weights move by one float32 rounding
// (its JSON's `sensitivity`), and atan2 turns gradient noise near zero into steps of up to lr.
constexpr Tolerance kTrained{1e-4, 2e-5};

struct Golden {
  nlohmann::json json;
  std::unordered_map<std::string, mx::array> arrays;

  bool has(const std::string& key) const { return arrays.count(key) > 0; }
  const mx::array& at(const std::string& key) const;
};

/// ../shared/golden, or an empty path where it is absent.
std::filesystem::path shared_folder();
/// False where ../shared is absent and the project carries no such data.
bool available(const std::string& name);
/// `name` without extension, under ../shared/golden or tests/fixtures/golden.
Golden load(const std::string& name);
/// The weights of a golden .pt file.
NamedArrays load_weights(const std::string& file);
/// The model a golden JSON describes (`config` as the JSON has it).
Model make_golden_model(const nlohmann::json& json, const NamedArrays& weights);

/// An empty string, or where and how far `actual` is from `expected`.
std::string difference(const mx::array& actual, const mx::array& expected, Tolerance tolerance);
std::string difference(double actual, double expected, Tolerance tolerance);

}  // namespace trm::golden

#define SKIP_WITHOUT_GOLDEN(name) \
  if (!trm::golden::available(name)) GTEST_SKIP() << "../shared/golden has no " << name
