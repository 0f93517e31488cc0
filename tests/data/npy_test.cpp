#include "trm/data/npy.h"

#include <gmock/gmock.h>

#include "tests/data/data_test_util.h"

namespace trm {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string v1(std::string dict) {
  std::string out("\x93NUMPY\x01\x00", 8);
  out += static_cast<char>(dict.size() & 0xff);
  out += static_cast<char>(dict.size() >> 8);
  return out + dict;
}

TEST(Npy, HeaderIsNumPysByteForByte) {
  // np.save of np.zeros((10, 81), np.uint8) and of np.zeros(11, np.int32), NumPy 2.4.
  int64_t two[] = {10, 81}, one[] = {11};
  std::string a = npy_header('u', 1, two), b = npy_header('i', 4, one);
  EXPECT_EQ(a.size(), 128u);
  EXPECT_EQ(a.substr(8, 2), std::string("v\0", 2));
  EXPECT_THAT(a, HasSubstr("{'descr': '|u1', 'fortran_order': False, 'shape': (10, 81), }    "));
  EXPECT_THAT(b, HasSubstr("{'descr': '<i4', 'fortran_order': False, 'shape': (11,), }    "));
  EXPECT_EQ(b.back(), '\n');
}

TEST(Npy, WritesAndReadsBack) {
  TempDir dir;
  std::vector<int64_t> values{-3, 0, 255, 70000};
  int64_t shape[] = {2, 2};
  write_npy<int64_t>(dir / "x.npy", values, shape);
  NpyFile file(dir / "x.npy");
  EXPECT_EQ(file.header().dtype(), "int64");
  EXPECT_THAT(file.header().shape, ElementsAre(2, 2));
  EXPECT_EQ(file.read<int64_t>(), values);
  EXPECT_THAT(error_of([&] { file.read<uint8_t>(); }),
              HasSubstr("element 0 is -3, outside 0..255"));
}

TEST(Npy, ReadsEveryIntegerType) {
  TempDir dir;
  int64_t shape[] = {2};
  for (auto [kind, size] : {std::pair{'b', 1},
                            {'u', 1},
                            {'u', 2},
                            {'u', 4},
                            {'u', 8},
                            {'i', 1},
                            {'i', 2},
                            {'i', 4},
                            {'i', 8}}) {
    std::string data(2 * static_cast<size_t>(size), '\0');
    data[static_cast<size_t>(size)] = 1;
    write_file(dir / "x.npy", npy_header(kind, size, shape) + data);
    EXPECT_THAT(NpyFile(dir / "x.npy").read<int32_t>(), ElementsAre(0, 1));
  }
  write_file(dir / "x.npy", npy_header('u', 8, shape) + std::string(16, '\xff'));
  EXPECT_THAT(error_of([&] { NpyFile(dir / "x.npy").read<int64_t>(); }),
              HasSubstr("18446744073709551615, outside"));
  write_file(dir / "x.npy", npy_header('f', 4, shape) + std::string(8, '\0'));
  EXPECT_THAT(error_of([&] { NpyFile(dir / "x.npy").read<int64_t>(); }), HasSubstr("float32"));
}

TEST(Npy, AcceptsWhatOtherWritersWrite) {
  auto h = parse_npy_header(v1("{\"shape\": (3, 4), 'fortran_order':True,'descr':'<f8'}\n"), "x");
  EXPECT_TRUE(h.fortran_order);
  EXPECT_EQ(h.dtype(), "float64");
  EXPECT_THAT(h.shape, ElementsAre(3, 4));
  std::string v2("\x93NUMPY\x02\x00\x3d\x00\x00\x00", 12);
  v2 += "{'descr': '|u1', 'fortran_order': False, 'shape': (), }     \n";
  EXPECT_EQ(parse_npy_header(v2, "x").count(), 1);
}

TEST(Npy, RefusesBrokenHeadersWithAReason) {
  auto why = [](const std::string& bytes) {
    return error_of([&] { parse_npy_header(bytes, "x.npy"); });
  };
  EXPECT_THAT(why(""), HasSubstr("not a NumPy"));
  EXPECT_THAT(why("PK\x03\x04zzzzzzzzzzzz"), HasSubstr("not a NumPy"));
  EXPECT_THAT(why(std::string("\x93NUMPY\x07\x00\x00\x00", 10)), HasSubstr("version 7.0"));
  EXPECT_THAT(why(std::string("\x93NUMPY\x01\x00\xff\x00"
                              "{}",
                              12)),
              HasSubstr("truncated"));
  EXPECT_THAT(why(std::string("\x93NUMPY\x02\x00\xff\xff\xff\x7f"
                              "{}",
                              14)),
              HasSubstr("plausible"));
  const std::string tail = ", 'fortran_order': False, 'shape': (2,), }";
  EXPECT_THAT(why(v1("{'descr': '>i4'" + tail)), HasSubstr("big-endian"));
  EXPECT_THAT(why(v1("{'descr': '|O'" + tail)), HasSubstr("dtype '|O'"));
  EXPECT_THAT(why(v1("{'descr': '<f1'" + tail)), HasSubstr("dtype"));
  EXPECT_THAT(why(v1("{'descr': [('a', '<i4')]" + tail)), HasSubstr("structured"));
  EXPECT_THAT(why(v1("{'descr': '|u1', 'descr': '|u1'" + tail)), HasSubstr("repeated"));
  EXPECT_THAT(why(v1("{'descr': '|u1', 'fortran_order': False}")), HasSubstr("lacks"));
  EXPECT_THAT(why(v1("{'descr': '|u1', 'fortran_order': Maybe}")), HasSubstr("True nor False"));
  const std::string head = "{'descr': '|u1', 'fortran_order': False, 'shape': ";
  EXPECT_THAT(why(v1(head + "(-2,)}")), HasSubstr("whole number"));
  EXPECT_THAT(why(v1(head + "(99999999999999999999,)}")), HasSubstr("whole number"));
  EXPECT_THAT(why(v1(head + "(4)}")), HasSubstr("no tuple"));
  EXPECT_THAT(why(v1(head + "(4294967296, 4294967296, 4294967296, 0)}")), HasSubstr("too large"));
  EXPECT_THAT(why(v1(head + "(4,)} + system('x')")), HasSubstr("after its dictionary"));
}

TEST(Npy, RefusesFilesThatDisagreeWithTheirHeader) {
  TempDir dir;
  int64_t shape[] = {4};
  for (int extra : {-1, 1}) {
    write_file(dir / "x.npy",
               npy_header('i', 4, shape) + std::string(static_cast<size_t>(16 + extra), '\0'));
    EXPECT_THAT(error_of([&] { NpyFile file(dir / "x.npy"); }), HasSubstr("needs 16 bytes"));
  }
  write_file(dir / "e.npy", "");
  EXPECT_THAT(error_of([&] { NpyFile file(dir / "e.npy"); }), HasSubstr("empty"));
  EXPECT_THAT(error_of([&] { NpyFile file(dir / "no.npy"); }), HasSubstr("No such file"));
  EXPECT_THAT(error_of([&] { NpyFile file(dir.path()); }), HasSubstr("regular file"));
}

}  // namespace
}  // namespace trm
