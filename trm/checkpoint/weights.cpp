#include "trm/checkpoint/weights.h"

#include <algorithm>
#include <array>
#include <unordered_map>

#include "trm/io/text.h"

namespace trm {

namespace {

constexpr std::array<std::string_view, 20> kWeightKeys = {
    "state_dict",     "model_state_dict", "model",     "module",     "net",
    "network",        "weights",          "params",    "parameters", "model_weights",
    "net_state_dict", "state_dict_model", "generator", "model_ema",  "ema_state_dict",
    "state_dict_ema", "ema_model",        "ema",       "params_ema", "shadow"};
constexpr std::array<std::string_view, 18> kCompanions = {
    "optim",  "sched", "scaler", "epoch",    "step", "ema",    "rng",  "loss", "arg",
    "config", "cfg",   "hyper",  "callback", "amp",  "metric", "best", "iter", "state"};

bool is_weight_key(std::string_view key) {
  return std::find(kWeightKeys.begin(), kWeightKeys.end(), key) != kWeightKeys.end();
}

bool is_companion(std::string key) {
  for (char& c : key) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  return std::any_of(kCompanions.begin(), kCompanions.end(),
                     [&](std::string_view word) { return key.find(word) != key.npos; });
}

struct Child {
  std::string key;
  NodeId node;
};

class Walker {
 public:
  explicit Walker(const TorchObjects& objects) : objects_(objects), graph_(objects.graph()) {}

  /// All tensors below `root`.
  Weights walk(NodeId root);
  std::vector<Child> children(NodeId id, bool note = true);
  bool is_dict(NodeId id) const;
  std::string describe(NodeId id) const;
  /// How many tensors lie below `root`; nothing is built.
  uint64_t count(NodeId root) {
    counting_ = true;
    walk(root);
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

  /// The dotted name; one beyond the limit is an error (a tensor's) or cut at the front.
  std::string text(size_t path, bool whole) const;
  void add_tensors(size_t path, std::vector<Tensor> tensors);
  void pairs(const std::vector<NodeId>& items, size_t from, std::vector<Child>& out, bool note);
  void object_state(const Node& node, std::vector<Child>& out, bool note);

  const TorchObjects& objects_;
  const PickleGraph& graph_;
  Weights found_;
  std::vector<Path> paths_;
  bool counting_ = false;
  uint64_t counted_ = 0;
};

std::string Walker::text(size_t path, bool whole) const {
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

bool Walker::is_dict(NodeId id) const {
  const Node& node = graph_[id];
  if (node.kind == Node::dict) return true;
  if (node.kind != Node::call) return false;
  std::string_view what = graph_.global(node.items[0]);
  return node.has_pairs || what == "collections OrderedDict" || what == "collections defaultdict";
}

/// Keys and values; of equal keys the last value, in the place of the first, as in Python.
void Walker::pairs(const std::vector<NodeId>& items, size_t from, std::vector<Child>& out,
                   bool note) {
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
void Walker::object_state(const Node& node, std::vector<Child>& out, bool note) {
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
  std::vector<std::string> temporary;  // buffers that state_dict() leaves out
  if (const Child* names = find("_non_persistent_buffers_set");
      names && graph_.is(names->node, Node::set)) {
    for (NodeId id : graph_[names->node].items)
      if (graph_.is(id, Node::string)) temporary.emplace_back(graph_[id].text);
  } else if (names && graph_.is(names->node, Node::call)) {
    // Protocol 2 writes a set as a call of set([...]).
    const Node& args = graph_[graph_[names->node].items[1]];
    if (args.kind == Node::tuple && args.items.size() == 1 && graph_.is(args.items[0], Node::list))
      for (NodeId id : graph_[args.items[0]].items)
        if (graph_.is(id, Node::string)) temporary.emplace_back(graph_[id].text);
  }
  for (std::string_view part : {"_parameters", "_buffers", "_modules"}) {
    const Child* group = find(part);
    if (!group) continue;
    for (Child& c : children(group->node, note)) {
      bool kept = part != "_buffers" ||
                  std::find(temporary.begin(), temporary.end(), c.key) == temporary.end();
      if (kept && !graph_.is(c.node, Node::none)) out.push_back(std::move(c));
    }
  }
}

std::vector<Child> Walker::children(NodeId id, bool note) {
  const Node& node = graph_[id];
  std::vector<Child> out;
  if (node.kind == Node::dict) {
    pairs(node.items, 0, out, note);
  } else if (node.kind == Node::list || node.kind == Node::tuple) {
    for (size_t i = 0; i < node.items.size(); ++i)
      out.push_back({std::to_string(i), node.items[i]});
  } else if (node.kind == Node::call) {
    if (node.has_pairs) {
      pairs(node.items, 2, out, note);
    } else if (node.items.size() > 2) {
      for (size_t i = 2; i < node.items.size(); ++i)
        out.push_back({std::to_string(i - 2), node.items[i]});
    }
    bool ordered = graph_.global(node.items[0]) == "collections OrderedDict";
    const Node& args = graph_[node.items[1]];
    if (ordered && args.kind == Node::tuple && args.items.size() == 1 &&
        graph_.is(args.items[0], Node::list)) {
      // Python 2 wrote OrderedDict([[key, value], ...]).
      std::vector<NodeId> flat;
      for (NodeId pair : graph_[args.items[0]].items) {
        const auto& two = graph_.sequence(pair, "an OrderedDict's item");
        if (two.size() != 2) fail("[torch] damaged: an OrderedDict's item is no pair");
        flat.insert(flat.end(), two.begin(), two.end());
      }
      pairs(flat, 0, out, note);
    }
    // An OrderedDict's state is torch's _metadata: versions, not weights.
    if (node.state != Node::kNoState && !ordered) object_state(node, out, note);
  }
  return out;
}

std::string Walker::describe(NodeId id) const {
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

void Walker::add_tensors(size_t path, std::vector<Tensor> tensors) {
  if (found_.tensors.size() + tensors.size() > objects_.limits().max_tensors)
    fail("[torch] more than {} tensors (--max-tensors)", objects_.limits().max_tensors);
  std::string name = text(path, true);
  for (size_t i = 0; i < tensors.size(); ++i) {
    std::string part =
        tensors.size() == 1 ? name : fmt::format("{}{}{}", name, name.empty() ? "" : ".", i);
    found_.tensors.push_back({part.empty() ? "tensor" : part, std::move(tensors[i])});
  }
}

Weights Walker::walk(NodeId root) {
  // Depth first in file order; `on_path` stops containers that hold themselves.
  std::vector<Frame> stack{{root, kTop, false}};
  std::vector<bool> on_path(graph_.size());
  uint64_t visited = 0;
  while (!stack.empty()) {
    Frame frame = stack.back();
    stack.pop_back();
    if (frame.leave) {
      on_path[frame.node] = false;
      continue;
    }
    if (++visited + stack.size() > objects_.limits().max_walk)
      fail(
          "[torch] more than {} entries: containers in it hold each other many times over "
          "(--max-walk)",
          objects_.limits().max_walk);
    if (on_path[frame.node]) continue;
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
    on_path[frame.node] = true;
    stack.push_back({frame.node, frame.path, true});
    for (size_t i = below.size(); i-- > 0;) {
      paths_.push_back({frame.path, std::move(below[i].key)});
      stack.push_back({below[i].node, paths_.size() - 1, false});
    }
  }
  return std::move(found_);
}

NodeId resolve(const TorchObjects& objects, const std::string& key) {
  NodeId id = objects.graph().root();
  std::string_view rest = key;
  Walker walker(objects);
  while (!rest.empty()) {
    // Keys may hold dots themselves: the longest one that fits goes first.
    std::vector<Child> below = walker.children(id, false);
    const Child* best = nullptr;
    for (const Child& c : below) {
      bool fits = rest == c.key || (rest.starts_with(c.key) && rest[c.key.size()] == '.');
      if (fits && (!best || c.key.size() > best->key.size())) best = &c;
    }
    if (!best) {
      std::string names;
      for (size_t i = 0; i < below.size() && i < 8; ++i)
        names += (i ? ", " : "") + printable(below[i].key);
      fail("[torch] --key {}: there is no '{}'; here are: {}{}", printable(key), printable(rest),
           names, below.size() > 8 ? ", ..." : "");
    }
    id = best->node;
    rest.remove_prefix(std::min(rest.size(), best->key.size() + 1));
  }
  return id;
}

}  // namespace

Weights find_weights(const TorchObjects& objects, const std::string& key) {
  const PickleGraph& graph = objects.graph();
  if (!key.empty()) {
    Weights found = Walker(objects).walk(key == "." ? graph.root() : resolve(objects, key));
    found.chosen = key == "." ? "" : key;
    return found;
  }
  NodeId root = graph.root();
  std::string chosen;
  std::vector<std::pair<std::string, uint64_t>> left;
  std::vector<OtherEntry> others;
  for (int level = 0; level < 8 && Walker(objects).is_dict(root); ++level) {
    const Child* best = nullptr;
    size_t best_rank = kWeightKeys.size();
    bool clear = true;
    std::vector<Child> below = Walker(objects).children(root);
    bool any = std::any_of(below.begin(), below.end(),
                           [](const Child& c) { return is_weight_key(c.key); });
    if (!any) break;
    std::vector<std::pair<std::string, uint64_t>> counts;
    for (const Child& c : below) {
      bool container = !objects.is_tensor(c.node);
      uint64_t n = container ? Walker(objects).count(c.node) : 1;
      if (n == 0) {
        bool leaf = Walker(objects).children(c.node, false).empty();
        others.push_back({chosen.empty() ? c.key : chosen + "." + c.key,
                          leaf ? Walker(objects).describe(c.node) : "no tensors"});
        continue;
      }
      counts.emplace_back(c.key, n);
      auto rank = static_cast<size_t>(std::find(kWeightKeys.begin(), kWeightKeys.end(), c.key) -
                                      kWeightKeys.begin());
      if (container && rank < best_rank) {
        best = &c;
        best_rank = rank;
      }
      clear = clear && (is_weight_key(c.key) || is_companion(c.key));
    }
    if (!best || !clear) break;
    for (auto& [name, n] : counts)
      if (name != best->key) left.emplace_back(chosen.empty() ? name : chosen + "." + name, n);
    chosen += (chosen.empty() ? "" : ".") + best->key;
    root = best->node;
  }
  Weights found = Walker(objects).walk(root);
  found.chosen = chosen;
  found.left = std::move(left);
  if (!chosen.empty()) {
    found.others_count += others.size();
    found.others.insert(found.others.begin(), others.begin(), others.end());
  }
  return found;
}

}  // namespace trm
