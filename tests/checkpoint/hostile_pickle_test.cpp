// Pickles made as attacks, see hostile.h.
#include "tests/checkpoint/hostile.h"

namespace trm {
namespace {

using namespace hostile;

std::vector<Attack> pickle_attacks() {
  auto call = [](const std::string& module, const std::string& name) {
    return [=] {
      return torch_file(
          dict_of(global(module, name) + "(" + text("touch /tmp/trm-attack-ran") + "tR"));
    };
  };
  return {
      {"system", call("os", "system"), "looks like an attack"},
      {"posix_system", call("posix", "system"), "looks like an attack"},
      {"eval", call("builtins", "eval"), "looks like an attack"},
      {"subprocess", call("subprocess", "Popen"), "looks like an attack"},
      {"exec_by_stack_global",
       [] {
         return torch_file("\x80\x04}" + text("w") + text("builtins") + text("exec") + "\x93(" +
                           text("1") + "tRs.");
       },
       "looks like an attack"},
      {"runpy", call("runpy", "_run_code"), "looks like an attack"},
      {"inst", [] { return torch_file("(" + text("x") + "ios\nsystem\n."); },
       "looks like an attack"},
      {"setitem_on_tensor", [] { return torch_file(kProto + "K\1" + text("k") + "K\2s."); },
       "not a dict"},
      {"setitems_on_list", [] { return torch_file(kProto + "](" + text("k") + "K\2u."); },
       "not a dict"},
      {"append_to_dict", [] { return torch_file(kProto + "}K\1a."); }, "not a list"},
      {"build_on_integer", [] { return torch_file(kProto + "K\1}b."); }, "not an object"},
      {"stack_underflow", [] { return torch_file(kProto + "0."); }, "stack empty"},
      {"pop_below_mark", [] { return torch_file(kProto + "K\1(R."); }, "stack empty"},
      {"no_mark", [] { return torch_file(kProto + "t."); }, "no mark"},
      {"empty_memo", [] { return torch_file(kProto + "h\7."); }, "memo slot 7"},
      {"huge_string", [] { return torch_file(kProto + "X\xff\xff\xff\xff."); }, "damaged"},
      {"huge_bytes", [] { return torch_file("\x80\x04\x8e" + little(~uint64_t{0}, 8) + "."); },
       "damaged"},
      {"huge_frame", [] { return torch_file("\x80\x04\x95" + little(~uint64_t{0}, 8) + "."); },
       "frame"},
      {"unknown_opcode", [] { return torch_file(kProto + "\xff."); }, "unknown operation"},
      {"unknown_protocol", [] { return torch_file("\x80\x09N."); }, "protocol 9"},
      {"extension_code", [] { return torch_file(kProto + "\x82\x01."); }, "extension codes"},
      {"no_stop", [] { return torch_file(kProto + "N"); }, "ends in the middle"},
      {"deep_list",
       [] {
         return torch_file(kProto + std::string(200'000, ']') + std::string(199'999, 'a') + ".");
       },
       "no tensors"},
      {"deep_tuple",
       [] {
         std::string p = kProto + ")";
         for (int i = 0; i < 200'000; ++i) p += "\x85";
         return torch_file(p + ".");
       },
       "no tensors"},
      {"self_referencing_dict",
       [] {
         return torch_file(kProto + std::string("}q\0", 3) + text("me") + std::string("h\0s.", 4));
       },
       "no tensors"},
      {"self_wrapping_parameter",
       [] {
         return torch_file(kProto + std::string("]q\0", 3) +
                           global("torch._utils", "_rebuild_parameter") +
                           std::string("h\0\x85Rq\1a.", 9));
       },
       ""},
      {"billion_laughs",
       [] {
         std::string p = kProto + std::string("]q\0", 3);
         for (char i = 1; i < 40; ++i) {
           p += std::string("](");
           for (int k = 0; k < 10; ++k) p += std::string("h") + static_cast<char>(i - 1);
           p += std::string("eq") + i;
         }
         return torch_file(p + ".");
       },
       "--max-walk"},
      {"memo_flood",
       [] {
         std::string p = kProto + "N";
         for (uint32_t i = 0; i < 2'000'000; ++i) p += "r" + little(i * 2'147u, 4);
         return torch_file(p + ".");
       },
       "--max-pickle-objects"},
      {"stack_flood", [] { return torch_file(kProto + "N" + std::string(3'000'000, '2') + "."); },
       "--max-pickle-objects"},
      {"mark_flood", [] { return torch_file(kProto + std::string(3'000'000, '(') + "."); },
       "--max-pickle-objects"},
      {"deep_bytearray",
       [] {
         // numpy's _frombuffer over bytearray(bytearray(...)): a reader that recursed would
         // overflow its stack.
         std::string calls = kProto + global("numpy.core.numeric", "_frombuffer") + "(";
         for (int i = 0; i < 100'000; ++i) calls += std::string("cb\nbytearray\n");
         calls += "C" + std::string(1, '\4') + "abcd";
         for (int i = 0; i < 100'000; ++i) calls += "\x85R";
         calls += global("numpy", "dtype") + text("f4") + "\x85R" + ints({1}) + text("C") + "tR.";
         return torch_file(calls);
       },
       ""},
      {"deep_module_state",
       [] {
         // Modules whose _parameters are again an object with _parameters, and so on.
         std::string p = kProto + "}";
         for (int i = 0; i < 100'000; ++i)
           p += std::string("q\1") + "0" + global("m", "C") + ")R}" + text("_parameters") + "h\1s" +
                text("_modules") + "}sb";
         return torch_file(p + ".");
       },
       "no tensors"},
      {"one_list_under_many_keys",
       [] {
         std::string p = kProto + std::string("]q\0(", 4), keys;
         for (int i = 0; i < 300'000; ++i) p += "K\1";
         for (int i = 0; i < 200'000; ++i) keys += text(std::to_string(i)) + std::string("h\0", 2);
         return torch_file(p + "e}(" + text("model") + tensor(4, 0, {4}, {1}) + keys + "u.");
       },
       "--max-walk"},
      {"one_key_many_times_in_one_dict_many_times",
       [] {
         std::string p = kProto + text("a") + std::string("q\1}q\0(", 6), refs;
         for (int i = 0; i < 300'000; ++i) p += std::string("h\1h\1", 4);
         for (int i = 0; i < 300'000; ++i) refs += std::string("h\0", 2);
         return torch_file(p + "u](" + refs + "e.");
       },
       "--max-walk"},
      {"many_buffers_and_names_to_leave_out",
       [] {
         std::string names, buffers;
         for (int i = 0; i < 200'000; ++i) {
           names += text("x" + std::to_string(i));
           buffers += text("b" + std::to_string(i)) + "N";
         }
         return torch_file("\x80\x04" + global("m", "C") + ")R}" + text("_parameters") + "}s" +
                           text("_modules") + "}s" + text("_buffers") + "}(" + buffers + "us" +
                           text("_non_persistent_buffers_set") + "\x8f(" + names + "\x90sb.");
       },
       "no tensors"},
      {"long_name",
       [] {
         return torch_file(kProto + "}" + text(std::string(100'000, 'n')) + tensor(4, 0, {4}, {1}) +
                           "s.");
       },
       "--max-name-bytes"},
      {"terminal_escape",
       [] {
         return torch_file(kProto + "}" + text("\x1b[2J\nevil") + tensor(4, 0, {5}, {1}) + "s.");
       },
       "\\x1b[2J\\x0aevil"},
  };
}

class HostilePickle : public testing::TestWithParam<Attack> {};

TEST_P(HostilePickle, IsRefused) { expect_refused(GetParam()); }

INSTANTIATE_TEST_SUITE_P(Cases, HostilePickle, testing::ValuesIn(pickle_attacks()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace trm
