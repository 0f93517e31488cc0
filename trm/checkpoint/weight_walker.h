// Walks what a pickle holds; find_weights() alone uses it.
#pragma once

#include <string>
#include <vector>

#include "trm/checkpoint/weights.h"

namespace trm {

struct Child {
  std::string key;
  NodeId node;
};

class WeightWalker {
 public:
  explicit WeightWalker(const TorchObjects& objects)
      : objects_(objects), graph_(objects.graph()), on_path_(graph_.size()) {}

  /// All tensors below `root`.
  Weights walk(NodeId root);
  std::vector<Child> children(NodeId id, bool note = true);
  bool is_dict(NodeId id) const;
  std::string describe(NodeId id) const;
  /// How many tensors lie below `root`; nothing is built.
  uint64_t count(NodeId root) {
    counting_ = true;
    counted_ = 0;
    walk(root);
    counting_ = false;
    return counted_;
  }

 private:
  struct Path {
    size_t parent;
    std::string key;
  };
  struct Frame {
    NodeId node;
    size_t path;
    bool leave;
  };
  static constexpr size_t kTop = ~size_t{0};

  /// Counts work against the limit, over all calls: containers may hold each other many times.
  void charge(uint64_t entries);
  /// The dotted name; one beyond the limit is an error (a tensor's) or cut at the front.
  std::string text(size_t path, bool whole) const;
  void add_tensors(size_t path, std::vector<Tensor> tensors);
  void pairs(const std::vector<NodeId>& items, size_t from, std::vector<Child>& out, bool note);
  /// What a list or dict holds, without an object's state: one level, never deeper.
  void entries(NodeId id, std::vector<Child>& out, bool note);
  void object_state(const Node& node, std::vector<Child>& out, bool note);

  const TorchObjects& objects_;
  const PickleGraph& graph_;
  Weights found_;
  std::vector<Path> paths_;
  std::vector<bool> on_path_;  // stops containers that hold themselves
  uint64_t visited_ = 0;
  bool counting_ = false;
  uint64_t counted_ = 0;
};

}  // namespace trm
