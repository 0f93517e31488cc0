#include "trm/checkpoint/pickle.h"

#include "trm/checkpoint/pickle_machine.h"
#include "trm/io/text.h"

namespace trm {

std::string_view PickleGraph::string(NodeId id, const char* what) const {
  if (nodes_[id].kind != Node::string) fail("[pickle] {} is not a string", what);
  return nodes_[id].text;
}

int64_t PickleGraph::integer(NodeId id, const char* what) const {
  if (nodes_[id].kind != Node::integer)
    fail("[pickle] {} is not an integer that fits 64 bits", what);
  return nodes_[id].i;
}

const std::vector<NodeId>& PickleGraph::sequence(NodeId id, const char* what) const {
  const Node& node = nodes_[id];
  if (node.kind != Node::tuple && node.kind != Node::list) fail("[pickle] {} is not a tuple", what);
  return node.items;
}

std::string_view PickleGraph::global(NodeId id) const {
  return nodes_[id].kind == Node::global ? nodes_[id].text : std::string_view{};
}
PickleGraph read_pickle(std::vector<std::byte> stream, const Limits& limits) {
  return PickleMachine(std::move(stream), limits).run();
}

}  // namespace trm
