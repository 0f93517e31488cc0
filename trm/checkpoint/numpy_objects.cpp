// NumPy arrays and scalars inside torch's pickles.
#include <cstring>

#include "trm/checkpoint/npy.h"
#include "trm/checkpoint/torch_objects.h"
#include "trm/io/text.h"

namespace trm {

namespace {

/// The module moved from numpy.core to numpy._core in NumPy 2.
bool is_numpy(std::string_view global, std::string_view name) {
  return (global.starts_with("numpy.core.") || global.starts_with("numpy._core.") ||
          global.starts_with("numpy ")) &&
         global.ends_with(name) && global[global.size() - name.size() - 1] == ' ';
}

/// Raw bytes: a bytes object, a Python 2 string, or how protocol 2 writes bytes:
/// _codecs.encode(text, "latin1"), bytearray(text, "latin-1"), bytes().
std::vector<std::byte> raw_bytes(const PickleGraph& graph, NodeId id) {
  const Node* node = &graph[id];
  bool latin = false;
  if (node->kind == Node::call) {
    std::string_view what = graph.global(node->items[0]);
    const auto& args = graph.sequence(node->items[1], "an array's bytes");
    if (what != "_codecs encode" && !what.ends_with(" bytearray") && !what.ends_with(" bytes"))
      fail("[numpy] damaged: an array's bytes are {}", printable(what));
    if (args.empty()) return {};
    node = &graph[args[0]];
    latin = args.size() == 2;
  }
  if (node->kind != Node::bytes && node->kind != Node::string)
    fail("[numpy] damaged: an array without data");
  std::vector<std::byte> out;
  out.reserve(node->text.size());
  for (size_t i = 0; i < node->text.size(); ++i) {
    auto c = static_cast<uint8_t>(node->text[i]);
    // Latin-1 as UTF-8: two bytes from 0x80 on.
    if (latin && c >= 0x80) {
      if (i + 1 == node->text.size() || (c != 0xc2 && c != 0xc3))
        fail("[numpy] damaged: encoded bytes");
      c = static_cast<uint8_t>((c & 3) << 6 | (static_cast<uint8_t>(node->text[++i]) & 0x3f));
    }
    out.push_back(std::byte{c});
  }
  return out;
}

struct Type {
  DType dtype;
  bool swapped;
};

/// numpy.dtype("f4", False, True) with state (3, "<", ...).
Type numpy_type(const PickleGraph& graph, NodeId id) {
  const Node& node = graph[id];
  if (node.kind != Node::call || !is_numpy(graph.global(node.items[0]), "dtype"))
    fail("[numpy] damaged: an array without a dtype");
  const auto& args = graph.sequence(node.items[1], "a dtype");
  if (args.empty()) fail("[numpy] damaged: a dtype without a name");
  std::string text(graph.string(args[0], "a dtype's name"));
  char order = '|';
  if (node.state != Node::kNoState) {
    const auto& state = graph.sequence(node.state, "a dtype's state");
    if (state.size() > 1 && graph.is(state[1], Node::string) && graph[state[1]].text.size() == 1)
      order = graph[state[1]].text[0];
  }
  auto type = dtype_of_npy((order == '>' ? ">" : "<") + text);
  if (!type) fail("[numpy] arrays of {} cannot be converted", printable(text));
  return {type->first, type->second};
}

std::vector<uint64_t> numpy_shape(const PickleGraph& graph, NodeId id, const Limits& limits) {
  const Node& node = graph[id];
  std::vector<NodeId> items =
      node.kind == Node::integer ? std::vector{id} : graph.sequence(id, "an array's shape");
  if (items.size() > limits.max_rank)
    fail("[numpy] {} dimensions are more than {} (--max-rank)", items.size(), limits.max_rank);
  std::vector<uint64_t> shape;
  for (NodeId item : items) {
    int64_t n = graph.integer(item, "an array's shape");
    if (n < 0) fail("[numpy] damaged: an array's shape holds {}", n);
    shape.push_back(static_cast<uint64_t>(n));
  }
  return shape;
}

Tensor make(Type type, std::vector<uint64_t> shape, bool fortran, std::vector<std::byte> bytes,
            const Limits& limits) {
  Tensor t;
  t.dtype = type.dtype;
  t.swapped = type.swapped;
  t.shape = std::move(shape);
  t.strides = fortran ? column_major(t.shape) : row_major(t.shape);
  uint64_t expected = checked_product(checked_count(t.shape), size_of(t.dtype), "the size");
  if (bytes.size() != expected)
    fail("[numpy] damaged: an array of {} bytes holds {}", expected, bytes.size());
  t.storage = whole(memory_source(std::move(bytes)));
  t.storage_id = reinterpret_cast<uintptr_t>(t.storage.source.get());
  check_tensor(t, limits);
  return t;
}

}  // namespace

std::optional<Tensor> numpy_array(const PickleGraph& graph, NodeId id, const Limits& limits) {
  const Node& node = graph[id];
  if (node.kind != Node::call) return {};
  std::string_view function = graph.global(node.items[0]);
  if (!is_numpy_array(graph, id)) return {};
  if (is_numpy(function, "_reconstruct")) {
    const auto& state = graph.sequence(node.state, "an array's state");
    size_t at = state.size() >= 5 ? 1 : 0;  // a version comes first
    Type type = numpy_type(graph, state[at + 1]);
    bool fortran = graph[state[at + 2]].i != 0;
    return make(type, numpy_shape(graph, state[at], limits), fortran,
                raw_bytes(graph, state[at + 3]), limits);
  }
  const auto& args = graph.sequence(node.items[1], "an array's arguments");
  if (args.size() < 4) fail("[numpy] damaged: an array's arguments");
  bool fortran = graph.string(args[3], "an array's order") == "F";
  return make(numpy_type(graph, args[1]), numpy_shape(graph, args[2], limits), fortran,
              raw_bytes(graph, args[0]), limits);
}

bool is_numpy_array(const PickleGraph& graph, NodeId id) {
  const Node& node = graph[id];
  if (node.kind != Node::call) return false;
  std::string_view function = graph.global(node.items[0]);
  if (is_numpy(function, "_frombuffer")) return true;
  if (!is_numpy(function, "_reconstruct") || node.state == Node::kNoState) return false;
  const Node& state = graph[node.state];
  return state.kind == Node::tuple && state.items.size() >= 4 &&
         !graph.is(state.items.back(), Node::list);
}

bool is_numpy_scalar(const PickleGraph& graph, NodeId id) {
  const Node& node = graph[id];
  return node.kind == Node::call && is_numpy(graph.global(node.items[0]), "scalar");
}

}  // namespace trm
