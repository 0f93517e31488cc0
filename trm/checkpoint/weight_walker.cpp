#include "trm/checkpoint/weight_walker.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "trm/io/text.h"

namespace trm {

void WeightWalker::charge(uint64_t entries) {
  visited_ += entries;
  if (visited_ > objects_.limits().max_walk)
    fail(
        "[torch] more than {} entries: containers in it hold each other many times over "
        "(--max-walk)",
        objects_.limits().max_walk);
}

std::string WeightWalker::text(size_t path, bool whole) const {
  std::vector<const std::string*> parts;
  size_t bytes = 0;
  bool cut = false;
  for (; path != kTop && !cut; path = paths_[path].parent) {
    parts.push_back(&paths_[path].key);
    bytes += parts.back()->size() + 1;
    cut = bytes > objects_.limits().max_name_bytes;
    if (cut && whole)
      fail("[torch] a name of more than {} bytes (--max-name-bytes)",
           objects_.limits().max_name_bytes);
  }
  std::string out = cut ? "..." : "";
  for (size_t i = parts.size() - (cut ? 1 : 0); i-- > 0;) {
    if (!out.empty()) out += '.';
    out += *parts[i];
  }
  return out;
}

bool WeightWalker::is_dict(NodeId id) const {
  const Node& node = graph_[id];
  if (node.kind == Node::dict) return true;
  if (node.kind != Node::call) return false;
  std::string_view what = graph_.global(node.items[0]);
  return node.has_pairs || what == "collections OrderedDict" || what == "collections defaultdict";
}

/// Keys and values; of equal keys the last value, in the place of the first, as in Python.
void WeightWalker::pairs(const std::vector<NodeId>& items, size_t from, std::vector<Child>& out,
                         bool note) {
  charge(items.size());
  std::unordered_map<std::string, size_t> places;
  for (size_t i = from; i + 1 < items.size(); i += 2) {
    const Node& key = graph_[items[i]];
    std::string name;
    if (key.kind == Node::string || key.kind == Node::bytes) {
      name = std::string(key.text);
    } else if (key.kind == Node::integer || key.kind == Node::boolean) {
      name = std::to_string(key.i);
    } else {
      name = fmt::format("<{}>", describe(items[i]));
    }
    auto [place, fresh] = places.try_emplace(name, out.size());
    if (fresh) {
      out.push_back({std::move(name), items[i + 1]});
    } else {
      if (note && found_.notes.size() < 100)
        found_.notes.push_back(
            fmt::format("key '{}' is there twice; the last one counts", printable(name)));
      out[place->second].node = items[i + 1];
    }
  }
}

/// What an object's BUILD gave it: a module's parameters, buffers and modules, else every
/// attribute.
void WeightWalker::object_state(const Node& node, std::vector<Child>& out, bool note) {
  const Node* state = &graph_[node.state];
  // Objects with slots have (dict or None, slots).
  if (state->kind == Node::tuple && state->items.size() == 2 &&
      graph_.is(state->items[0], Node::dict))
    state = &graph_[state->items[0]];
  if (state->kind != Node::dict) return;
  std::vector<Child> attributes;
  pairs(state->items, 0, attributes, note);
  auto find = [&](std::string_view name) -> const Child* {
    for (const Child& c : attributes)
      if (c.key == name) return &c;
    return nullptr;
  };
  if (!find("_parameters") || !find("_modules")) {
    out.insert(out.end(), attributes.begin(), attributes.end());
    return;
  }
  // Buffers that state_dict() leaves out. Protocol 2 writes their set as a call of set([...]).
  std::unordered_set<std::string_view> temporary;
  const Child* names = find("_non_persistent_buffers_set");
  const Node* set = names ? &graph_[names->node] : nullptr;
  if (set && set->kind == Node::call) {
    const Node& args = graph_[set->items[1]];
    bool one = args.kind == Node::tuple && args.items.size() == 1;
    set = one && graph_.is(args.items[0], Node::list) ? &graph_[args.items[0]] : nullptr;
  }
  if (set && (set->kind == Node::set || set->kind == Node::list)) {
    charge(set->items.size());
    for (NodeId id : set->items)
      if (graph_.is(id, Node::string)) temporary.insert(graph_[id].text);
  }
  for (std::string_view part : {"_parameters", "_buffers", "_modules"}) {
    const Child* group = find(part);
    if (!group) continue;
    std::vector<Child> members;
    entries(group->node, members, note);
    for (Child& c : members) {
      bool kept = part != "_buffers" || !temporary.contains(c.key);
      if (kept && !graph_.is(c.node, Node::none)) out.push_back(std::move(c));
    }
  }
}

void WeightWalker::entries(NodeId id, std::vector<Child>& out, bool note) {
  const Node& node = graph_[id];
  if (node.kind == Node::dict) {
    pairs(node.items, 0, out, note);
  } else if (node.kind == Node::list || node.kind == Node::tuple) {
    charge(node.items.size());
    for (size_t i = 0; i < node.items.size(); ++i)
      out.push_back({std::to_string(i), node.items[i]});
  } else if (node.kind == Node::call) {
    if (node.has_pairs) {
      pairs(node.items, 2, out, note);
    } else if (node.items.size() > 2) {
      charge(node.items.size());
      for (size_t i = 2; i < node.items.size(); ++i)
        out.push_back({std::to_string(i - 2), node.items[i]});
    }
    bool ordered = graph_.global(node.items[0]) == "collections OrderedDict";
    const Node& args = graph_[node.items[1]];
    if (ordered && args.kind == Node::tuple && args.items.size() == 1 &&
        graph_.is(args.items[0], Node::list)) {
      // Python 2 wrote OrderedDict([[key, value], ...]).
      std::vector<NodeId> flat;
      charge(graph_[args.items[0]].items.size());
      for (NodeId pair : graph_[args.items[0]].items) {
        const auto& two = graph_.sequence(pair, "an OrderedDict's item");
        if (two.size() != 2) fail("[torch] damaged: an OrderedDict's item is no pair");
        flat.insert(flat.end(), two.begin(), two.end());
      }
      pairs(flat, 0, out, note);
    }
  }
}

std::vector<Child> WeightWalker::children(NodeId id, bool note) {
  std::vector<Child> out;
  entries(id, out, note);
  // An OrderedDict's state is torch's _metadata: versions, not weights.
  const Node& node = graph_[id];
  if (node.kind == Node::call && node.state != Node::kNoState &&
      graph_.global(node.items[0]) != "collections OrderedDict")
    object_state(node, out, note);
  return out;
}

std::string WeightWalker::describe(NodeId id) const {
  const Node& node = graph_[id];
  switch (node.kind) {
    case Node::none:
      return "None";
    case Node::boolean:
      return node.i ? "True" : "False";
    case Node::integer:
      return std::to_string(node.i);
    case Node::big_integer:
      return "a large integer";
    case Node::real:
      return fmt::format("{}", node.f);
    case Node::string:
      return fmt::format("'{}'", printable(node.text));
    case Node::bytes:
      return fmt::format("{} bytes", node.text.size());
    case Node::list:
      return "an empty list";
    case Node::tuple:
      return "an empty tuple";
    case Node::dict:
      return "an empty dict";
    case Node::set:
      return fmt::format("a set of {}", node.items.size());
    case Node::persistent:
      return "a storage";
    case Node::global:
      break;
    case Node::call: {
      if (is_numpy_scalar(graph_, id)) return "a NumPy scalar";
      std::string_view what = graph_.global(node.items[0]);
      if (what == "torch Size") return "a torch.Size";
      return what.empty() ? "an object"
                          : fmt::format("an object of {}", printable(std::string(what)));
    }
  }
  return printable(std::string(node.text));
}

void WeightWalker::add_tensors(size_t path, std::vector<Tensor> tensors) {
  if (found_.tensors.size() + tensors.size() > objects_.limits().max_tensors)
    fail("[torch] more than {} tensors (--max-tensors)", objects_.limits().max_tensors);
  std::string name = text(path, true);
  for (size_t i = 0; i < tensors.size(); ++i) {
    std::string part =
        tensors.size() == 1 ? name : fmt::format("{}{}{}", name, name.empty() ? "" : ".", i);
    found_.tensors.push_back({part.empty() ? "tensor" : part, std::move(tensors[i])});
  }
}

Weights WeightWalker::walk(NodeId root) {
  // Depth first in file order.
  std::vector<Frame> stack{{root, kTop, false}};
  while (!stack.empty()) {
    Frame frame = stack.back();
    stack.pop_back();
    if (frame.leave) {
      on_path_[frame.node] = false;
      continue;
    }
    charge(1);
    if (on_path_[frame.node]) continue;
    if (counting_ && objects_.is_tensor(frame.node)) {
      ++counted_;
      continue;
    }
    std::optional<std::vector<Tensor>> tensors;
    try {
      if (!counting_) tensors = objects_.tensors(frame.node);
    } catch (const std::runtime_error& e) {
      fail("{} (tensor {})", e.what(), printable(text(frame.path, false)));
    }
    if (tensors) {
      add_tensors(frame.path, std::move(*tensors));
      continue;
    }
    std::vector<Child> below = children(frame.node);
    if (below.empty()) {
      if (!counting_ && ++found_.others_count <= 1000)
        found_.others.push_back({text(frame.path, false), describe(frame.node)});
      continue;
    }
    on_path_[frame.node] = true;
    stack.push_back({frame.node, frame.path, true});
    for (size_t i = below.size(); i-- > 0;) {
      if (!counting_) paths_.push_back({frame.path, std::move(below[i].key)});
      stack.push_back({below[i].node, counting_ ? kTop : paths_.size() - 1, false});
    }
  }
  return std::move(found_);
}

}  // namespace trm
