// Files made to run code, to crash, to hang or to eat memory: each is refused with one line, in
// little memory, with nothing left behind and what was there untouched. The cases follow
// CVE-2025-32434, CVE-2026-24747, CVE-2025-1889/1944/1945, CVE-2025-10155/6/7, pytorch#184652 and
// PR#181310.
#include <filesystem>
#include <functional>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <libdeflate.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/checkpoint/helpers.h"
#include "trm/checkpoint/output.h"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored \
    "-Wrestrict"  // false on "x" + std::string in g++ 12 (GCC bug 105651)
#endif

namespace trm {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

std::string little(uint64_t value, int bytes) {
  std::string out;
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i));
  return out;
}

// Pieces of pickles.
const std::string kProto("\x80\x02", 2);
std::string global(const std::string& module, const std::string& name) {
  return "c" + module + "\n" + name + "\n";
}
std::string text(const std::string& s) { return "X" + little(s.size(), 4) + s; }
std::string integer(int64_t v) {
  return std::string("\x8a\x08", 2) + little(static_cast<uint64_t>(v), 8);
}
std::string ints(const std::vector<int64_t>& values) {
  std::string out = "(";
  for (int64_t v : values) out += integer(v);
  return out + "t";
}
std::string storage_id(const std::string& type, const std::string& key, int64_t count) {
  return "(" + text("storage") + global("torch", type) + text(key) + text("cpu") + integer(count) +
         "tQ";
}
std::string tensor(int64_t count, int64_t offset, const std::vector<int64_t>& shape,
                   const std::vector<int64_t>& strides, const std::string& type = "FloatStorage") {
  return global("torch._utils", "_rebuild_tensor_v2") + "(" + storage_id(type, "0", count) +
         integer(offset) + ints(shape) + ints(strides) + "\x89" +
         global("collections", "OrderedDict") + ")RtR";
}
std::string dict_of(const std::string& value) { return kProto + "}" + text("w") + value + "s."; }

std::string zip_of(const std::vector<std::pair<std::string, std::string>>& records) {
  TempDir dir;
  std::vector<ZipRecord> zip;
  for (auto& [name, data] : records) zip.push_back({name, data, nullptr});
  write_zip(dir / "z", zip, 1, {});
  return read_file(dir / "z");
}
/// A torch archive around `pickle`, with one storage of four floats.
std::string torch_file(const std::string& pickle, const std::string& data = std::string(16, '\1')) {
  return zip_of({{"a/data.pkl", pickle},
                 {"a/byteorder", "little"},
                 {"a/data/0", data},
                 {"a/version", "3\n"}});
}
std::string safetensors(const std::string& header, size_t data) {
  return little(header.size(), 8) + header + std::string(data, '\0');
}
std::string npy(const std::string& dict, size_t data) {
  return std::string("\x93NUMPY\1\0", 8) + little(dict.size(), 2) + dict + std::string(data, '\0');
}
std::string replaced(std::string s, const std::string& from, const std::string& to,
                     bool last = false) {
  size_t at = last ? s.rfind(from) : s.find(from);
  EXPECT_NE(at, std::string::npos);
  return s.replace(at, from.size(), to);
}

struct Attack {
  std::string name;
  std::function<std::string()> file;
  std::string says;
};

/// Runs the program with its own resource use measured; killed after 60 s.
struct Measured {
  int exit_code;
  long megabytes;
  std::string err;
};
Measured run_measured(const std::vector<std::string>& arguments, const fs::path& err) {
  std::vector<char*> argv{const_cast<char*>(TRM_PROGRAM)};
  for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);
  pid_t child = fork();
  if (child == 0) {
    alarm(60);
    int fd = open(err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600),
        null = open("/dev/null", O_WRONLY);
    dup2(fd, 2);
    dup2(null, 1);
    execv(TRM_PROGRAM, argv.data());
    _exit(127);
  }
  int status = 0;
  rusage usage{};
  wait4(child, &status, 0, &usage);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), usage.ru_maxrss / 1024,
          read_file(err)};
}

class Hostile : public testing::TestWithParam<Attack> {};

TEST_P(Hostile, IsRefused) {
  TempDir dir;
  fs::create_directory(dir / "in");
  write_file(dir / "in/file", GetParam().file());
  write_file(dir / "out.npz", "what was there");
  Measured ran =
      run_measured({"convert", (dir / "in/file").string(), (dir / "out.npz").string(), "--quiet"},
                   dir / "in/err");
  EXPECT_EQ(ran.exit_code, 1);
  EXPECT_LT(ran.megabytes, 256);
  EXPECT_TRUE(one_error_line(ran.err)) << ran.err;
  EXPECT_THAT(ran.err, HasSubstr(GetParam().says));
  EXPECT_LT(ran.err.size(), 1000u) << "names from files are cut";
  EXPECT_EQ(read_file(dir / "out.npz"), "what was there");
  EXPECT_EQ(std::distance(fs::directory_iterator(dir.path()), {}), 2) << "nothing is left behind";
  EXPECT_FALSE(fs::exists("/tmp/trm-attack-ran"));
}

std::string deflated(size_t zeros) {
  // One deflated record; the archive's other fields are those of a stored one, changed.
  std::string plain(zeros, '\0'), packed(zeros / 100 + 1000, '\0');
  auto* c = libdeflate_alloc_compressor(6);
  packed.resize(
      libdeflate_deflate_compress(c, plain.data(), plain.size(), packed.data(), packed.size()));
  libdeflate_free_compressor(c);
  std::string file = torch_file(
      dict_of(tensor(static_cast<int64_t>(zeros / 4), 0, {static_cast<int64_t>(zeros / 4)}, {1})),
      packed);
  size_t local = file.find("a/data/0") - 30, central = file.rfind("a/data/0") - 46;
  file.replace(local + 8, 2, little(8, 2));
  file.replace(local + 22, 4, little(zeros, 4));
  file.replace(central + 10, 2, little(8, 2));
  file.replace(central + 24, 4, little(zeros, 4));
  return file;
}

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

std::vector<Attack> tensor_attacks() {
  auto with = [](int64_t count, int64_t offset, std::vector<int64_t> shape,
                 std::vector<int64_t> strides, const std::string& type = "FloatStorage") {
    return [=] { return torch_file(dict_of(tensor(count, offset, shape, strides, type))); };
  };
  auto call = [](const std::string& name, const std::string& arguments) {
    return
        [=] { return torch_file(dict_of(global("torch._utils", name) + "(" + arguments + "tR")); };
  };
  int64_t huge = int64_t{1} << 62;
  return {
      {"negative_stride", with(4, 0, {4}, {-1}), "strides holds -1"},
      {"negative_size", with(4, 0, {-4}, {1}), "shape holds -4"},
      {"negative_offset", with(4, -1, {4}, {1}), "offset is -1"},
      {"past_the_storage", with(4, 1, {4}, {1}), "element 4 is needed"},
      {"far_stride", with(4, 0, {2, 2}, {1, 3}), "element 4 is needed"},
      {"stride_count", with(4, 0, {4}, {1, 1}), "1 dimensions but 2 strides"},
      {"size_overflow", with(4, 0, {huge, huge, 4}, {0, 0, 1}), "overflows"},
      {"size_overflow_with_zero", with(4, 0, {huge, huge, 0}, {0, 0, 1}), "overflows"},
      {"place_overflow", with(4, 0, {3, 3}, {huge, huge}), "overflows"},
      {"expand_to_terabytes", with(4, 0, {1 << 20, 1 << 20, 4}, {0, 0, 1}), "--max-tensor-bytes"},
      {"expand_to_gigabytes", with(4, 0, {1 << 20, 1 << 10, 4}, {0, 0, 1}), "--max-expansion"},
      {"rank", with(4, 0, std::vector<int64_t>(100, 1), std::vector<int64_t>(100, 1)),
       "--max-rank"},
      {"storage_count", with(5, 0, {4}, {1}), "the pickle asks for 5"},
      {"storage_count_wraps", with(huge + 4, 0, {4}, {1}), "overflows"},
      {"storage_count_negative", with(-4, 0, {4}, {1}), "storage"},
      {"unknown_storage", with(4, 0, {4}, {1}, "QUInt4x2Storage"),
       "QUInt4x2Storage cannot be converted"},
      {"missing_storage",
       [] {
         return torch_file(
             replaced(dict_of(tensor(4, 0, {4}, {1})), text("0"), text("../../etc/passwd")));
       },
       "not in the archive"},
      {"quantized_axis",
       call("_rebuild_qtensor", storage_id("QInt8Storage", "0", 16) + integer(0) + ints({4}) +
                                    ints({1}) + "(" + global("torch", "per_channel_affine") +
                                    tensor(4, 0, {4}, {1}) + tensor(4, 0, {4}, {1}) + integer(7) +
                                    "t\x89N"),
       "axis is 7"},
      {"quantized_scales_too_few",
       call("_rebuild_qtensor", storage_id("QInt8Storage", "0", 16) + integer(0) + ints({4, 4}) +
                                    ints({4, 1}) + "(" + global("torch", "per_channel_affine") +
                                    tensor(4, 0, {2}, {1}) + tensor(4, 0, {2}, {1}) + integer(0) +
                                    "t\x89N"),
       "for 4 channels"},
      {"quantized_strides",
       call("_rebuild_qtensor", storage_id("QInt8Storage", "0", 16) + integer(0) + ints({4, 4}) +
                                    ints({400, 1}) + "(" + global("torch", "per_tensor_affine") +
                                    "G" + std::string(8, '\0') + integer(0) + "t\x89N"),
       "is needed"},
      {"sparse_index",
       call("_rebuild_sparse_tensor", text("torch.sparse_coo") + "(" +
                                          tensor(2, 0, {1, 1}, {1, 1}, "LongStorage") +
                                          tensor(4, 0, {1}, {1}) + ints({3}) + "t"),
       ""},
      {"sparse_bomb",
       [] {
         return torch_file(dict_of(
             global("torch._utils", "_rebuild_sparse_tensor") + "(" +
             global("torch", "sparse_coo") + "(" + tensor(2, 0, {1, 0}, {1, 1}, "LongStorage") +
             tensor(2, 0, {0}, {1}, "LongStorage") + ints({1 << 30}) + "ttR"));
       },
       "--max-dense-bytes"},
      {"meta",
       call("_rebuild_meta_tensor_no_storage",
            global("torch", "float32") + ints({4}) + ints({1}) + "\x89"),
       "no data in the file"},
      {"wrapper_subclass", call("_rebuild_wrapper_subclass", "N"), "no data in the file"},
  };
}

std::vector<Attack> container_attacks() {
  auto good = [] { return torch_file(dict_of(tensor(4, 0, {4}, {1}))); };
  return {
      {"duplicate_records",
       [] {
         return zip_of({{"a/data.pkl", "N."}, {"a/data.pkl", "N."}, {"a/version", "3"}});
       },
       "two records are named"},
      {"case_colliding_records",
       [] {
         return zip_of({{"a/data.pkl", "N."}, {"a/DATA.pkl", "N."}, {"a/version", "3"}});
       },
       "two records are named"},
      {"local_name_differs", [=] { return replaced(good(), "a/data/0", "a/data/1"); },
       "another name"},
      {"central_name_differs", [=] { return replaced(good(), "a/data/0", "a/data/1", true); },
       "another name"},
      {"overlapping_records",
       [=] {
         std::string f = good();
         size_t first = f.find("PK\1\2"), second = f.find("PK\1\2", first + 1);
         f.replace(second + 42, 4, f.substr(first + 42, 4));
         return f;
       },
       "overlaps"},
      {"record_outside",
       [=] {
         std::string f = good();
         f.replace(f.find("PK\1\2") + 42, 4, "\xff\xff\xff\x7f");
         return f;
       },
       "outside the archive"},
      {"record_too_long",
       [=] {
         std::string f = good();
         size_t central = f.rfind("a/data/0") - 46;
         f.replace(central + 20, 4, little(1 << 20, 4));
         f.replace(central + 24, 4, little(1 << 20, 4));
         return f;
       },
       ""},
      {"method_differs",
       [=] {
         std::string f = good();
         f[f.find("PK\1\2") + 10] = 8;
         return f;
       },
       "contradicts"},
      {"unknown_method",
       [=] {
         std::string f = good();
         f[f.find("PK\1\2") + 10] = 12;
         return f;
       },
       "method 12"},
      {"flag_bits",
       [=] {
         std::string f = good();
         f[f.find("PK\3\4") + 6] |= 1;
         return f;
       },
       "contradicts"},
      {"many_entries",
       [=] {
         std::string f = good();
         size_t end = f.rfind("PK\5\6");
         return f.replace(end + 8, 4, "\xff\xff\xff\xff");
       },
       "damaged"},
      {"directory_moved",
       [=] {
         std::string f = good();
         size_t end = f.rfind("PK\5\6");
         return f.replace(end + 16, 4, little(1, 4));
       },
       "directory is not where"},
      {"second_end_record", [=] { return good() + good().substr(good().rfind("PK\5\6")); },
       "directory is not where"},
      {"prefixed_archive",
       [=] {
         std::string f = "PK\3\4" + std::string(96, 'x') + good();
         return f;
       },
       "directory is not where"},
      {"bomb", [] { return deflated(64 << 20); }, "--max-inflate-ratio"},
      {"version",
       [] {
         return zip_of({{"a/data.pkl", "N."}, {"a/version", "11"}});
       },
       "version 11"},
      {"no_version",
       [] {
         return zip_of({{"a/data.pkl", "N."}, {"a/data/0", ""}});
       },
       "no version"},
      {"byteorder",
       [] {
         return zip_of({{"a/data.pkl", "N."}, {"a/byteorder", "middle"}, {"a/version", "3"}});
       },
       "byte order"},
      {"no_pickle",
       [] {
         return zip_of({{"word/document.xml", "x"}});
       },
       "not a PyTorch checkpoint"},
      {"npz_leading_slash",
       [] {
         return zip_of(
             {{"/etc/x.npy", npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", 4)}});
       },
       "cannot stand"},
      {"npz_parent_folder",
       [] {
         return zip_of(
             {{"../x.npy", npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", 4)}});
       },
       "cannot stand"},
      {"npy_shape_overflow",
       [] {
         return npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4), }",
                    4);
       },
       "overflows"},
      {"npy_cut_off",
       [] { return npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1000,), }", 4); },
       "4000 bytes"},
      {"npy_objects",
       [] { return npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", 4); },
       "cannot be converted"},
      {"npy_expression",
       [] {
         return npy("{'descr': '<f4', 'fortran_order': False, 'shape': __import__('os'), }", 4);
       },
       "damaged header"},
      {"npy_key_twice",
       [] {
         return npy("{'descr': '<f4', 'descr': '<f8', 'fortran_order': False, 'shape': (1,), }", 4);
       },
       "there twice"},
      {"safetensors_header_length", [] { return little((uint64_t{1} << 40) - 1, 8) + "{}"; },
       "--max-header-bytes"},
      {"safetensors_overlap",
       [] {
         return safetensors(
             R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})",
             6);
       },
       "overlap"},
      {"safetensors_hole",
       [] { return safetensors(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})", 8); },
       "holes"},
      {"safetensors_trailing",
       [] { return safetensors(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 8); },
       "follow the last tensor"},
      {"safetensors_overflow",
       [] {
         return safetensors(
             R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0);
       },
       "overflows"},
      {"safetensors_twice",
       [] {
         return safetensors(
             R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})",
             0);
       },
       "there twice"},
      {"safetensors_negative",
       [] { return safetensors(R"({"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,0]}})", 0); },
       "no size"},
      {"safetensors_deep",
       [] {
         return safetensors("{\"a\":" + std::string(100'000, '[') + std::string(100'000, ']') + "}",
                            0);
       },
       "too deep"},
      {"safetensors_size",
       [] { return safetensors(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4); },
       "takes 8 bytes"},
      {"tar_size",
       [] {
         std::string f = read_file(fixtures() / "cases/tar.tar");
         return f.replace(124, 11, "77777777777");
       },
       "cut off"},
      {"legacy_count",
       [] {
         std::string f = read_file(fixtures() / "cases/legacy_protocol2.pt");
         return f.replace(f.size() - 40, 8, little(uint64_t{1} << 62, 8));
       },
       "overflows"},
      {"legacy_count_past_the_end",
       [] {
         std::string f = read_file(fixtures() / "cases/legacy_protocol2.pt");
         return f.replace(f.size() - 40, 8, little(uint64_t{1} << 40, 8));
       },
       "cut off"},
  };
}

auto by_name = [](const auto& info) { return info.param.name; };
INSTANTIATE_TEST_SUITE_P(Pickles, Hostile, testing::ValuesIn(pickle_attacks()), by_name);
INSTANTIATE_TEST_SUITE_P(Tensors, Hostile, testing::ValuesIn(tensor_attacks()), by_name);
INSTANTIATE_TEST_SUITE_P(Containers, Hostile, testing::ValuesIn(container_attacks()), by_name);

TEST(HostileLimits, AreRaisedByTheirFlags) {
  TempDir dir;
  write_file(dir / "in", deflated(2 << 20));
  std::string in = (dir / "in").string();
  EXPECT_EQ(run_trm("convert -q " + in).exit_code, 1);
  Ran raised = run_trm("convert -q --verify --max-inflate-ratio 2000 " + in);
  EXPECT_EQ(raised.exit_code, 0) << raised.err;
}

}  // namespace
}  // namespace trm
