#include "trm/checkpoint/pickle.h"

#include <bit>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <unordered_map>

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
    make_text(Node::string, text.find('\\') == text.npos ? text : keep(unescape(text)));
  }
  static std::string unescape(std::string_view text);
  static std::string decode_raw_unicode(std::string_view text);

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

std::string PickleMachine::unescape(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\' || i + 1 == text.size()) {
      out += text[i];
      continue;
    }
    char c = text[++i];
    constexpr std::string_view from = "nrtabfv0\\'\"", to("\n\r\t\a\b\f\v\0\\'\"", 11);
    unsigned value = 0;
    if (c == 'x' && i + 2 < text.size() + 0 &&
        std::from_chars(&text[i + 1], &text[i + 1] + 2, value, 16).ptr == &text[i + 1] + 2) {
      out += static_cast<char>(value);
      i += 2;
    } else if (size_t k = from.find(c); k != from.npos) {
      out += to[k];
    } else {
      out += '\\';
      out += c;
    }
  }
  return out;
}

/// Protocol 0 writes Latin-1 with \uXXXX and \UXXXXXXXX for the rest.
std::string PickleMachine::decode_raw_unicode(std::string_view text) {
  std::string out;
  auto put = [&](uint32_t code) {
    if (code < 0x80) {
      out += static_cast<char>(code);
    } else if (code < 0x800) {
      out += {static_cast<char>(0xc0 | code >> 6), static_cast<char>(0x80 | (code & 0x3f))};
    } else if (code < 0x10000) {
      out += {static_cast<char>(0xe0 | code >> 12), static_cast<char>(0x80 | (code >> 6 & 0x3f)),
              static_cast<char>(0x80 | (code & 0x3f))};
    } else {
      out += {
          static_cast<char>(0xf0 | (code >> 18 & 7)), static_cast<char>(0x80 | (code >> 12 & 0x3f)),
          static_cast<char>(0x80 | (code >> 6 & 0x3f)), static_cast<char>(0x80 | (code & 0x3f))};
    }
  };
  for (size_t i = 0; i < text.size(); ++i) {
    size_t digits = text[i] != '\\' || i + 1 == text.size() ? 0
                    : text[i + 1] == 'u'                    ? 4
                    : text[i + 1] == 'U'                    ? 8
                                                            : 0;
    uint32_t code = 0;
    if (digits && i + 2 + digits <= text.size() &&
        std::from_chars(&text[i + 2], &text[i + 2] + digits, code, 16).ptr ==
            &text[i + 2] + digits) {
      put(code);
      i += 1 + digits;
    } else {
      put(static_cast<uint8_t>(text[i]));
    }
  }
  return out;
}

/// One operation; false after STOP. Groups follow the pickle module's order.
bool PickleMachine::step() {
  auto op = static_cast<uint8_t>(take(1)[0]);
  switch (op) {
    case '.':  // STOP
      graph_.root_ = pop();
      return false;
    case 0x80:  // PROTO
      if (uint64_t protocol = little(1); protocol > 5)
        fail("[pickle] protocol {} is unknown (0 to 5 are read)", protocol);
      break;
    case 0x95:  // FRAME
      if (little(8) > limits_.max_pickle_bytes)
        fail("[pickle] a frame beyond {} bytes (--max-pickle-bytes)", limits_.max_pickle_bytes);
      break;
    case '(':
    case 't':
    case 'l':
    case 'd':
    case 'e':
    case 'u':
    case 'o':
    case 'i':
    case '1':
    case 0x90:
    case 0x91:
      mark_operation(op);
      break;
    case '0':
    case '2':
    case 'a':
    case 's':
    case 'b':
    case 'R':
    case 0x81:
    case 0x92:
    case 'c':
    case 0x93:
    case 'P':
    case 'Q':
    case 'p':
    case 'q':
    case 'r':
    case 0x94:
    case 'g':
    case 'h':
    case 'j':
      stack_operation(op);
      break;
    case 0x82:
    case 0x83:
    case 0x84:
      fail(
          "[pickle] extension codes (copyreg) have no meaning outside the program that wrote them");
    case 0x97:
    case 0x98:
      fail("[pickle] out-of-band buffers are not in the file");
    default:
      value(op);
  }
  return true;
}

void PickleMachine::mark_operation(uint8_t op) {
  if (op == '(') {
    if (marks_.size() >= limits_.max_pickle_objects)
      fail("[pickle] more than {} marks (--max-pickle-objects)", limits_.max_pickle_objects);
    return marks_.push_back(stack_.size());
  }
  std::vector<NodeId> items = pop_to_mark();
  switch (op) {
    case '1':  // POP_MARK
      return;
    case 't':   // TUPLE
    case 'l':   // LIST
    case 0x91:  // FROZENSET
      count(items.size());
      make(op == 't' ? Node::tuple : op == 'l' ? Node::list : Node::set).items = std::move(items);
      return;
    case 'd':  // DICT
      set_items(make(Node::dict), items);
      return;
    case 'e':   // APPENDS
    case 0x90:  // ADDITEMS
      return append(top(), items);
    case 'u':  // SETITEMS
      return set_items(top(), items);
    case 'o': {  // OBJ: class, arguments...
      if (items.empty()) fail("[pickle] damaged: an object without a class");
      count(items.size());
      NodeId what = items[0];
      return call(what, tuple_of({items.begin() + 1, items.end()}));
    }
    default: {  // 'i' INST: module and name as lines
      count(items.size());
      std::string_view module = line();
      global(module, line());
      NodeId what = pop();
      return call(what, tuple_of(std::move(items)));
    }
  }
}

void PickleMachine::stack_operation(uint8_t op) {
  switch (op) {
    case '0':  // POP: a mark counts as an entry
      if (stack_.size() <= floor() && !marks_.empty()) return marks_.pop_back();
      pop();
      return;
    case '2':  // DUP
      top();
      return push(stack_.back());
    case 'a': {  // APPEND
      NodeId item = pop();
      return append(top(), std::span(&item, 1));
    }
    case 's': {  // SETITEM
      NodeId item = pop();
      NodeId pair[2] = {pop(), item};
      return set_items(top(), pair);
    }
    case 'b':  // BUILD
      return build();
    case 'R':     // REDUCE
    case 0x81: {  // NEWOBJ
      NodeId arguments = pop();
      return call(pop(), arguments);
    }
    case 0x92: {  // NEWOBJ_EX: the keyword arguments are dropped
      pop();
      NodeId arguments = pop();
      return call(pop(), arguments);
    }
    case 'c': {  // GLOBAL
      std::string_view module = line();
      return global(module, line());
    }
    case 0x93: {  // STACK_GLOBAL
      NodeId name = pop(), module = pop();
      return global(graph_.string(module, "a module's name"),
                    graph_.string(name, "a class's name"));
    }
    case 'P':  // PERSID
      make_text(Node::string, line());
      [[fallthrough]];
    case 'Q': {  // BINPERSID
      NodeId id = pop();
      make(Node::persistent).items = {id};
      return;
    }
    case 'p':
      return remember(slot_of(line()));
    case 'q':
      return remember(little(1));
    case 'r':
      return remember(little(4));
    case 0x94:
      return remember(memo_.size());
    case 'g':
      return recall(slot_of(line()));
    case 'h':
      return recall(little(1));
    default:
      return recall(little(4));  // 'j'
  }
}

void PickleMachine::build() {
  NodeId state = pop();
  Node& target = top();
  if (target.kind != Node::call && target.kind != Node::dict && target.kind != Node::list &&
      target.kind != Node::global)
    fail("[pickle] damaged: a state is given to something that is not an object");
  target.state = state;
}

void PickleMachine::value(uint8_t op) {
  switch (op) {
    case 'N':
      make(Node::none);
      return;
    case 0x88:
      return make_bool(true);
    case 0x89:
      return make_bool(false);
    case 'I':
      return text_integer(line());
    case 'L':
      return text_integer(line());
    case 'J':
      return make_integer(static_cast<int32_t>(little(4)));
    case 'K':
      return make_integer(static_cast<int64_t>(little(1)));
    case 'M':
      return make_integer(static_cast<int64_t>(little(2)));
    case 0x8a:
      return long_integer(take(little(1)));
    case 0x8b:
      return long_integer(take(little(4)));
    case 'F':
      return text_real(line());
    case 'G': {  // big-endian double
      uint64_t bits = __builtin_bswap64(little(8));
      make(Node::real).f = std::bit_cast<double>(bits);
      return;
    }
    case 'S':
      return quoted(line());
    case 'V': {
      std::string_view text = line();
      bool plain = true;
      for (char c : text) plain = plain && c != '\\' && static_cast<uint8_t>(c) < 0x80;
      return make_text(Node::string, plain ? text : keep(decode_raw_unicode(text)));
    }
    case 'U':
      return make_text(Node::string, take(little(1)));  // Python 2's str
    case 'T':
      return make_text(Node::string, take(little(4)));
    case 0x8c:
      return make_text(Node::string, take(little(1)));
    case 'X':
      return make_text(Node::string, take(little(4)));
    case 0x8d:
      return make_text(Node::string, take(little(8)));
    case 'C':
      return make_text(Node::bytes, take(little(1)));
    case 'B':
      return make_text(Node::bytes, take(little(4)));
    case 0x8e:
      return make_text(Node::bytes, take(little(8)));
    case 0x96:
      return make_text(Node::bytes, take(little(8)));
    case ')':
      make(Node::tuple);
      return;
    case ']':
      make(Node::list);
      return;
    case '}':
      make(Node::dict);
      return;
    case 0x8f:
      make(Node::set);
      return;
    case 0x85:
      return small_tuple<1>();
    case 0x86:
      return small_tuple<2>();
    case 0x87:
      return small_tuple<3>();
    default:
      fail("[pickle] damaged: unknown operation 0x{:02x} at byte {}", op, at_ - 1);
  }
}

PickleGraph read_pickle(std::vector<std::byte> stream, const Limits& limits) {
  return PickleMachine(std::move(stream), limits).run();
}

}  // namespace trm
