// The stack machine behind read_pickle(); nothing else includes this.
#pragma once

#include <charconv>
#include <cstdlib>
#include <span>
#include <unordered_map>

#include "trm/checkpoint/pickle.h"
#include "trm/checkpoint/pickle_text.h"
#include "trm/io/text.h"

namespace trm {

/// The stack machine. One pass over the stream; every length is checked before it is used.
class PickleMachine {
 public:
  PickleMachine(std::vector<std::byte> stream, const Limits& limits) : limits_(limits) {
    graph_.stream_ = std::move(stream);
    data_ = reinterpret_cast<const char*>(graph_.stream_.data());
    size_ = graph_.stream_.size();
  }

  PickleGraph run() {
    while (step()) {
    }
    graph_.consumed_ = at_;
    return std::move(graph_);
  }

 private:
  // Reading the stream.
  std::string_view take(uint64_t n) {
    if (n > size_ - at_)
      throw PickleTruncated("[pickle] the pickle is cut off: the file is damaged or incomplete");
    std::string_view bytes(data_ + at_, n);
    at_ += n;
    return bytes;
  }
  uint64_t little(size_t n) {
    uint64_t value = 0;
    for (size_t i = n; const char c : take(n))
      value |= uint64_t{static_cast<uint8_t>(c)} << (8 * (n - i--));
    return value;
  }
  std::string_view line() {
    std::string_view rest(data_ + at_, size_ - at_);
    size_t end = rest.find('\n');
    if (end == rest.npos)
      throw PickleTruncated("[pickle] the pickle is cut off: the file is damaged or incomplete");
    at_ += end + 1;
    rest = rest.substr(0, end);
    return rest;
  }
  std::string_view keep(std::string text) { return graph_.decoded_.emplace_back(std::move(text)); }

  // Nodes, stack and memo, counted against one limit.
  void count(size_t n = 1) {
    used_ += n;
    if (used_ > limits_.max_pickle_objects)
      fail("[pickle] more than {} objects (--max-pickle-objects)", limits_.max_pickle_objects);
  }
  Node& make(Node::Kind kind) {
    count();
    push(static_cast<NodeId>(graph_.nodes_.size()));
    Node& node = graph_.nodes_.emplace_back();
    node.kind = kind;
    return node;
  }
  void make_text(Node::Kind kind, std::string_view text) { make(kind).text = text; }
  void make_integer(int64_t value) { make(Node::integer).i = value; }
  void make_bool(bool value) { make(Node::boolean).i = value; }
  void push(NodeId id) {
    // The stack may hold one object many times over, so it is bounded for itself.
    if (stack_.size() >= limits_.max_pickle_objects)
      fail("[pickle] a stack of more than {} entries (--max-pickle-objects)",
           limits_.max_pickle_objects);
    stack_.push_back(id);
  }
  size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }
  NodeId pop() {
    if (stack_.size() <= floor()) fail("[pickle] damaged: an operation finds the stack empty");
    NodeId id = stack_.back();
    stack_.pop_back();
    return id;
  }
  Node& top() {
    if (stack_.size() <= floor()) fail("[pickle] damaged: an operation finds the stack empty");
    return graph_.nodes_[stack_.back()];
  }
  std::vector<NodeId> pop_to_mark() {
    if (marks_.empty()) fail("[pickle] damaged: no mark on the stack");
    std::vector<NodeId> items(stack_.begin() + static_cast<ptrdiff_t>(marks_.back()), stack_.end());
    stack_.resize(marks_.back());
    marks_.pop_back();
    return items;
  }
  void remember(uint64_t slot) {
    top();
    if (memo_.insert_or_assign(slot, stack_.back()).second) count();
  }
  void recall(uint64_t slot) {
    auto found = memo_.find(slot);
    if (found == memo_.end()) fail("[pickle] damaged: memo slot {} is empty", slot);
    push(found->second);
  }
  uint64_t slot_of(std::string_view text) {
    uint64_t slot = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), slot);
    if (error != std::errc{} || end != text.data() + text.size())
      fail("[pickle] damaged: '{}' is no memo slot", printable(text));
    return slot;
  }

  // Values written as text or with a length.
  void long_integer(std::string_view bytes) {
    // Bytes that only repeat the sign say nothing.
    for (size_t n = bytes.size(); n > 8; bytes = bytes.substr(0, --n)) {
      char sign = bytes[n - 2] & '\x80' ? '\xff' : '\0';
      if (bytes[n - 1] != sign) break;
    }
    if (bytes.size() > 8) return make_text(Node::big_integer, bytes);
    uint64_t value = 0;
    for (size_t i = 0; i < bytes.size(); ++i)
      value |= uint64_t{static_cast<uint8_t>(bytes[i])} << (8 * i);
    size_t bits = 8 * bytes.size();
    if (bits > 0 && bits < 64 && value >> (bits - 1)) value |= ~uint64_t{0} << bits;
    make_integer(static_cast<int64_t>(value));
  }
  void text_integer(std::string_view text) {
    if (text == "00" || text == "01") return make_bool(text == "01");
    if (!text.empty() && text.back() == 'L') text.remove_suffix(1);
    int64_t value = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error == std::errc::result_out_of_range) return make_text(Node::big_integer, text);
    if (error != std::errc{} || end != text.data() + text.size())
      fail("[pickle] damaged: '{}' is no integer", printable(text));
    make_integer(value);
  }
  void text_real(std::string_view text) {
    std::string copy(text);
    char* end = nullptr;
    double value = strtod(copy.c_str(), &end);
    if (copy.empty() || end != copy.c_str() + copy.size())
      fail("[pickle] damaged: '{}' is no number", printable(text));
    make(Node::real).f = value;
  }
  void quoted(std::string_view text) {
    if (text.size() < 2 || text.front() != text.back() || (text[0] != '\'' && text[0] != '"'))
      fail("[pickle] damaged: a string without quotes");
    text = text.substr(1, text.size() - 2);
    make_text(Node::string, text.find('\\') == text.npos ? text : keep(unescape_pickle(text)));
  }

  void global(std::string_view module, std::string_view name) {
    make_text(Node::global, keep(fmt::format("{} {}", module, name)));
  }
  void call(NodeId what, NodeId arguments) { make(Node::call).items = {what, arguments}; }
  NodeId tuple_of(std::vector<NodeId> items) {
    make(Node::tuple).items = std::move(items);
    return pop();
  }
  void append(Node& target, std::span<const NodeId> items) {
    if (target.kind != Node::list && target.kind != Node::set && target.kind != Node::call)
      fail("[pickle] damaged: items are added to something that is not a list");
    if (target.kind == Node::call && target.has_pairs)
      fail("[pickle] damaged: an object is both a list and a dict");
    count(items.size());
    target.items.insert(target.items.end(), items.begin(), items.end());
  }
  void set_items(Node& target, std::span<const NodeId> items) {
    if (items.size() % 2) fail("[pickle] damaged: a key without a value");
    if (target.kind != Node::dict && target.kind != Node::call)
      fail("[pickle] damaged: keys are set on something that is not a dict");
    if (target.kind == Node::call && !target.has_pairs && target.items.size() > 2)
      fail("[pickle] damaged: an object is both a list and a dict");
    target.has_pairs = true;
    count(items.size());
    target.items.insert(target.items.end(), items.begin(), items.end());
  }
  template <size_t N>
  void small_tuple() {
    std::vector<NodeId> items(N);
    for (size_t i = N; i-- > 0;) items[i] = pop();
    make(Node::tuple).items = std::move(items);
  }

  bool step();
  void build();
  void mark_operation(uint8_t op);
  void stack_operation(uint8_t op);
  void value(uint8_t op);

  const Limits& limits_;
  PickleGraph graph_;
  const char* data_ = nullptr;
  size_t size_ = 0, at_ = 0;
  uint64_t used_ = 0;
  std::vector<NodeId> stack_;
  std::vector<size_t> marks_;
  std::unordered_map<uint64_t, NodeId> memo_;
};
}  // namespace trm
