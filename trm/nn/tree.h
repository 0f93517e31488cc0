// A module is a plain struct that lists its members once:
//
//   static void fields(auto& m, auto&& f) { f("weight", m.weight); f("bias", m.bias); }
//
// From that list come parameter names, flattening, loading, saving, EMA and the optimizers. Members
// may be arrays, Buffers, other modules, and optionals, vectors or variants of those. Names join
// with dots and give the PyTorch checkpoint's names (layers.0.mlp.down_proj.weight).
#pragma once

#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "trm/mlx.h"

namespace trm {

/// An array that is saved with the model but never trained (H_init, L_init, puzzle embeddings).
struct Buffer {
  mx::array value;
};

namespace detail {
template <class T>
struct is_optional : std::false_type {};
template <class T>
struct is_optional<std::optional<T>> : std::true_type {};
template <class T>
struct is_vector : std::false_type {};
template <class T>
struct is_vector<std::vector<T>> : std::true_type {};
template <class T>
struct is_variant : std::false_type {};
template <class... T>
struct is_variant<std::variant<T...>> : std::true_type {};
}  // namespace detail

/// Calls f(name, array, trained) for every array (trained) and Buffer (not) below `node`, in
/// fields() order.
template <class Node, class F>
void visit(Node& node, F&& f, const std::string& path = "") {
  using T = std::remove_const_t<Node>;
  if constexpr (std::is_same_v<T, mx::array>) {
    f(path, node, true);
  } else if constexpr (std::is_same_v<T, Buffer>) {
    f(path, node.value, false);
  } else if constexpr (detail::is_optional<T>::value) {
    if (node) visit(*node, f, path);
  } else if constexpr (detail::is_vector<T>::value) {
    for (size_t i = 0; i < node.size(); ++i) visit(node[i], f, path + "." + std::to_string(i));
  } else if constexpr (detail::is_variant<T>::value) {
    std::visit([&](auto& held) { visit(held, f, path); }, node);
  } else {
    T::fields(node, [&](const char* name, auto& member) {
      visit(member, f, path.empty() ? name : path + "." + name);
    });
  }
}

using NamedArrays = std::vector<std::pair<std::string, mx::array>>;

/// Every array and Buffer with its name.
NamedArrays named_arrays(const auto& tree) {
  NamedArrays out;
  visit(tree, [&](const std::string& name, const mx::array& leaf, bool) {
    out.emplace_back(name, leaf);
  });
  return out;
}

/// The trained arrays only (no Buffers), in fields() order.
Arrays trainable(const auto& tree) {
  Arrays out;
  visit(tree, [&](const std::string&, const mx::array& leaf, bool trained) {
    if (trained) out.push_back(leaf);
  });
  return out;
}

/// The names of trainable(tree), in the same order.
std::vector<std::string> trainable_names(const auto& tree) {
  std::vector<std::string> out;
  visit(tree, [&](const std::string& name, const mx::array&, bool trained) {
    if (trained) out.push_back(name);
  });
  return out;
}

/// A copy of `tree` whose trained arrays are leaves[0], leaves[1], … in fields() order.
template <class Tree>
Tree with_trainable(Tree tree, const Arrays& leaves) {
  size_t i = 0;
  visit(tree, [&](const std::string&, mx::array& leaf, bool trained) {
    if (trained) leaf = leaves.at(i++);
  });
  return tree;
}

}  // namespace trm
