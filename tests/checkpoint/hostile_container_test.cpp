// Archives and files of the other formats made as attacks, see hostile.h.
#include <libdeflate.h>

#include "tests/checkpoint/hostile.h"

namespace trm {
namespace {

using namespace hostile;

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
       "repeated key"},
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

class HostileContainer : public testing::TestWithParam<Attack> {};

TEST_P(HostileContainer, IsRefused) { expect_refused(GetParam()); }

INSTANTIATE_TEST_SUITE_P(Cases, HostileContainer, testing::ValuesIn(container_attacks()),
                         [](const auto& info) { return info.param.name; });

TEST(HostileLimits, AreRaisedByTheirFlags) {
  TempDir dir;
  write_file(dir / "in", deflated(2 << 20));
  std::string in = (dir / "in").string();
  EXPECT_EQ(run_trm("convert -q " + in).exit_code, 1);
  Ran raised = run_trm("convert -q --verify --max-inflate-ratio 2000 " + in);
  EXPECT_EQ(raised.exit_code, 0) << raised.err;
}

TEST(HostileLimits, LargeDeflatedRecordsAreNotHeldInMemory) {
  TempDir dir;
  write_file(dir / "in", deflated(512 << 20));
  std::string in = (dir / "in").string(), out = (dir / "out.npz").string();
  Measured ran = run_measured({"convert", in, out, "-q", "--verify", "--max-inflate-ratio", "2000",
                               "--max-expansion", "2000"},
                              dir / "err");
  EXPECT_EQ(ran.exit_code, 0) << ran.err;
  EXPECT_LT(ran.megabytes, 256);
  EXPECT_EQ(fs::file_size(out) >> 20, 512u);
}

TEST(HostileLimits, DamagedDeflatedRecordsAreRefused) {
  for (size_t zeros : {1 << 20, 8 << 20}) {  // in memory, in a temporary file
    std::string file = deflated(zeros);
    size_t data = file.find("a/data/0") + 8;
    file[data] |= 6;  // a block of no known type
    TempDir dir;
    write_file(dir / "in", file);
    Ran ran = run_trm("convert -q --max-inflate-ratio 2000 " + (dir / "in").string());
    EXPECT_EQ(ran.exit_code, 1);
    EXPECT_THAT(ran.err, testing::HasSubstr("does not inflate to its"));
  }
}

}  // namespace
}  // namespace trm
