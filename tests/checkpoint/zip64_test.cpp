// Archives with zip64's fields, which files from 4 GiB on need; WriteOptions::zip64_from asks for
// them earlier. benchmarks/large_files.py does the same with 8 GB.
#include <gtest/gtest.h>

#include "tests/checkpoint/hostile.h"
#include "trm/checkpoint/checkpoint.h"
#include "trm/checkpoint/convert.h"
#include "trm/checkpoint/zip_reader.h"

namespace trm {
namespace {

class Zip64 : public testing::TestWithParam<uint64_t> {};

TEST_P(Zip64, WritesWhatIsReadBack) {
  TempDir dir;
  auto input = fixtures() / "tiny_trm/step_10";
  for (OutputFormat format : {OutputFormat::npz, OutputFormat::torch}) {
    ConvertOptions options;
    options.format = format;
    options.write.zip64_from = GetParam();
    auto output = dir / ("out" + std::string(extension(format)));
    write_conversion(plan_conversion(input, options), output, options);
    std::string bytes = read_file(output);
    EXPECT_NE(bytes.find("PK\6\6"), bytes.npos) << "zip64's end record";
    VerifyReport report = verify_conversion(input, output, options);
    EXPECT_EQ(report.output_keys, 11u);
    EXPECT_TRUE(report.differences.empty()) << report.differences[0].what;
    // Python's reader checks every field and CRC for itself.
    if (std::system("python3 -c 'import zipfile' 2>/dev/null") != 0) continue;
    std::string check = "python3 -c \"import zipfile, sys; z = zipfile.ZipFile('" +
                        output.string() +
                        "'); sys.exit(z.testzip() is not None or len(z.namelist()) < 11)\"";
    EXPECT_EQ(std::system(check.c_str()), 0);
  }
}

TEST(Pickle, LongIntegersMayRepeatTheirSign) {
  using namespace hostile;
  TempDir dir;
  std::string nine = std::string("\x8a\x09\4", 3) + std::string(8, '\0');
  write_file(dir / "in", torch_file(replaced(dict_of(tensor(4, 0, {4}, {1})), integer(4), nine)));
  EXPECT_EQ(load_checkpoint(dir / "in").tensors[0].second.shape(), (mx::Shape{4}));
}

TEST(DirectWriting, GivesTheSameFile) {
  // Large outputs go around the system's cache in aligned spans; here small ones do too.
  TempDir dir;
  save_npz(dir / "in.npz", {{"a", mx::random::normal({1100, 1024})},
                            {"odd", mx::random::normal({1'000'003}, mx::float16)},
                            {"tiny", mx::zeros({3}, mx::uint8)},
                            {"complex", mx::astype(mx::random::normal({300'001}), mx::complex64)}});
  for (OutputFormat format : {OutputFormat::npz, OutputFormat::torch, OutputFormat::safetensors}) {
    ConvertOptions options;
    options.format = format;
    Conversion plan = plan_conversion(dir / "in.npz", options);
    write_conversion(plan, dir / "plain", options);
    options.write.direct_from = 0;
    write_conversion(plan, dir / "direct", options);
    EXPECT_TRUE(read_file(dir / "plain") == read_file(dir / "direct"));
    EXPECT_TRUE(verify_conversion(dir / "in.npz", dir / "direct", options).differences.empty());
  }
}

// Every field; sizes and places of the large records and of those behind them; the end alone.
INSTANTIATE_TEST_SUITE_P(From, Zip64, testing::Values(0, 10'000, 60'000));

}  // namespace
}  // namespace trm
