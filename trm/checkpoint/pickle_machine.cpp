// What each pickle operation does.
#include "trm/checkpoint/pickle_machine.h"

#include <bit>

namespace trm {

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
}  // namespace trm
