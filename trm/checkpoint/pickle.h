// Reads a pickle into a graph of plain nodes. Nothing named in the file is looked up or called: a
// class or function stays a name, and a call of it a node that holds the name and the arguments.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "trm/checkpoint/limits.h"

namespace trm {

/// The stream ended before the pickle did.
struct PickleTruncated : std::runtime_error {
  using std::runtime_error::runtime_error;
};

using NodeId = uint32_t;

struct Node {
  enum Kind : uint8_t {
    none,
    boolean,
    integer,      // i
    big_integer,  // text: little-endian two's complement
    real,         // f
    string,       // text
    bytes,        // text
    list,         // items
    tuple,        // items
    dict,         // items: key, value, key, value, ...
    set,          // items
    global,       // text: "module name" with one space between
    persistent,   // items[0]: the id
    call,         // items[0]: what, items[1]: arguments; then what SETITEMS or APPENDS added
  };
  static constexpr NodeId kNoState = ~NodeId{0};

  Kind kind = none;
  bool has_pairs = false;   // call: items after the first two are key, value pairs
  NodeId state = kNoState;  // call, global: the last BUILD
  union {
    int64_t i = 0;
    double f;
  };
  std::string_view text;
  std::vector<NodeId> items;
};

/// The nodes of one pickle. Ids are indices, so cycles and depth cost nothing to build or to free.
class PickleGraph {
 public:
  PickleGraph() = default;
  PickleGraph(PickleGraph&&) = default;
  PickleGraph& operator=(PickleGraph&&) = default;

  const Node& operator[](NodeId id) const { return nodes_[id]; }
  NodeId root() const { return root_; }
  size_t size() const { return nodes_.size(); }
  /// Bytes of the stream that the pickle took.
  size_t consumed() const { return consumed_; }

  bool is(NodeId id, Node::Kind kind) const { return nodes_[id].kind == kind; }
  /// The value of a string node; throws for another kind, naming `what` was expected.
  std::string_view string(NodeId id, const char* what) const;
  int64_t integer(NodeId id, const char* what) const;
  /// Items of a list or tuple.
  const std::vector<NodeId>& sequence(NodeId id, const char* what) const;
  /// "module name" of a global; empty for another kind.
  std::string_view global(NodeId id) const;

 private:
  friend class PickleMachine;
  std::vector<std::byte> stream_;    // strings of nodes point into it,
  std::deque<std::string> decoded_;  // or into this, where they had to be decoded
  std::vector<Node> nodes_;
  NodeId root_ = 0;
  size_t consumed_ = 0;
};

/// Reads the pickle (protocol 0 to 5) at the front of `stream`. Throws PickleTruncated when it does
/// not end there, std::runtime_error for a damaged one or one beyond the limits.
PickleGraph read_pickle(std::vector<std::byte> stream, const Limits& limits);

}  // namespace trm
