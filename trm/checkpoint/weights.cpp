#include "trm/checkpoint/weights.h"

#include <algorithm>
#include <array>
#include <span>

#include "trm/checkpoint/weight_walker.h"
#include "trm/io/text.h"

namespace trm {

namespace {

constexpr std::array<std::string_view, 20> kWeightKeys = {
    "state_dict",     "model_state_dict", "model",     "module",     "net",
    "network",        "weights",          "params",    "parameters", "model_weights",
    "net_state_dict", "state_dict_model", "generator", "model_ema",  "ema_state_dict",
    "state_dict_ema", "ema_model",        "ema",       "params_ema", "shadow"};
constexpr std::array<std::string_view, 6> kResumeWords = {"rng",  "sched", "scaler",
                                                          "step", "epoch", "loss"};
constexpr std::array<std::string_view, 1> kOptimizerWords = {"optim"};
constexpr std::array<std::string_view, 18> kCompanions = {
    "optim",  "sched", "scaler", "epoch",    "step", "ema",    "rng",  "loss", "arg",
    "config", "cfg",   "hyper",  "callback", "amp",  "metric", "best", "iter", "state"};

bool is_weight_key(std::string_view key) {
  return std::find(kWeightKeys.begin(), kWeightKeys.end(), key) != kWeightKeys.end();
}

bool has_word(std::string key, std::span<const std::string_view> words) {
  for (char& c : key) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  return std::any_of(words.begin(), words.end(),
                     [&](std::string_view word) { return key.find(word) != key.npos; });
}

NodeId resolve(const TorchObjects& objects, const std::string& key) {
  NodeId id = objects.graph().root();
  std::string_view rest = key;
  WeightWalker walker(objects);
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

/// Whether the node is what torch's optimizers give as state_dict().
bool is_optimizer(WeightWalker& walker, NodeId id) {
  if (!walker.is_dict(id)) return false;
  bool state = false, groups = false;
  for (const Child& c : walker.children(id, false)) {
    state = state || c.key == "state";
    groups = groups || c.key == "param_groups";
  }
  return state && groups;
}

/// A file may hold an optimizer, random states and the like, and no weights.
void refuse_optimizer_alone(const TorchObjects& objects, WeightWalker& walker) {
  constexpr const char* kWhat =
      "[torch] only an optimizer's state is in the file{}, no weights: give the model's own file; "
      "--key {} converts the optimizer's tensors";
  NodeId root = objects.graph().root();
  if (is_optimizer(walker, root)) fail(kWhat, "", ".");
  if (!walker.is_dict(root)) return;
  std::string optimizer;
  for (const Child& c : walker.children(root, false)) {
    bool tensor = objects.is_tensor(c.node);
    if (!tensor && walker.count(c.node) == 0) continue;
    if (!tensor && (has_word(c.key, kOptimizerWords) || is_optimizer(walker, c.node)))
      optimizer = c.key;
    else if (!has_word(c.key, kResumeWords))
      return;
  }
  if (!optimizer.empty())
    fail(kWhat, fmt::format(" ('{}')", printable(optimizer)), printable(optimizer));
}

}  // namespace

Weights find_weights(const TorchObjects& objects, const std::string& key) {
  const PickleGraph& graph = objects.graph();
  if (!key.empty()) {
    Weights found = WeightWalker(objects).walk(key == "." ? graph.root() : resolve(objects, key));
    found.chosen = key == "." ? "" : key;
    return found;
  }
  WeightWalker walker(objects);
  refuse_optimizer_alone(objects, walker);
  NodeId root = graph.root();
  std::string chosen;
  std::vector<std::pair<std::string, uint64_t>> left;
  std::vector<OtherEntry> others;
  for (int level = 0; level < 8 && walker.is_dict(root); ++level) {
    const Child* best = nullptr;
    size_t best_rank = kWeightKeys.size();
    bool clear = true;
    std::vector<Child> below = walker.children(root);
    bool any = std::any_of(below.begin(), below.end(),
                           [](const Child& c) { return is_weight_key(c.key); });
    if (!any) break;
    std::vector<std::pair<std::string, uint64_t>> counts;
    for (const Child& c : below) {
      bool container = !objects.is_tensor(c.node);
      uint64_t n = container ? walker.count(c.node) : 1;
      if (n == 0) {
        bool leaf = walker.children(c.node, false).empty();
        others.push_back({chosen.empty() ? c.key : chosen + "." + c.key,
                          leaf ? walker.describe(c.node) : "no tensors"});
        continue;
      }
      counts.emplace_back(c.key, n);
      auto rank = static_cast<size_t>(std::find(kWeightKeys.begin(), kWeightKeys.end(), c.key) -
                                      kWeightKeys.begin());
      if (container && rank < best_rank) {
        best = &c;
        best_rank = rank;
      }
      clear = clear && (is_weight_key(c.key) || has_word(c.key, kCompanions));
    }
    if (!best || !clear) break;
    for (auto& [name, n] : counts)
      if (name != best->key) left.emplace_back(chosen.empty() ? name : chosen + "." + name, n);
    chosen += (chosen.empty() ? "" : ".") + best->key;
    root = best->node;
  }
  Weights found = WeightWalker(objects).walk(root);
  found.chosen = chosen;
  found.left = std::move(left);
  if (!chosen.empty()) {
    found.others_count += others.size();
    found.others.insert(found.others.begin(), others.begin(), others.end());
  }
  return found;
}

}  // namespace trm
