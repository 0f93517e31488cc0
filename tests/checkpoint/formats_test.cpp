// Every format that is read, against what torch made of the same file (fixtures/checkpoint/cases,
// made by reference/make_checkpoint_fixtures.py). Also back to each output format, verified.
#include <algorithm>
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/checkpoint/helpers.h"
#include "trm/checkpoint/checkpoint.h"
#include "trm/checkpoint/convert.h"

namespace trm {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

std::vector<std::string> case_files() {
  std::vector<std::string> out;
  for (const auto& entry : fs::directory_iterator(fixtures() / "cases")) {
    std::string name = entry.path().filename().string();
    if (!name.ends_with(".expected.npz")) out.push_back(name);
  }
  std::sort(out.begin(), out.end());
  return out;
}

std::string expected_name(const std::string& file) {
  return file.substr(0, file.rfind('.')) + ".expected.npz";
}

class Formats : public testing::TestWithParam<std::string> {};

TEST_P(Formats, ConvertsToWhatTorchGives) {
  TempDir dir;
  fs::path input = fixtures() / "cases" / GetParam();
  Checkpoint want = load_checkpoint(fixtures() / "cases" / expected_name(GetParam()));
  for (OutputFormat format : {OutputFormat::npz, OutputFormat::safetensors, OutputFormat::torch}) {
    ConvertOptions options;
    options.source.key = ".";
    options.format = format;
    fs::path output = dir / ("out" + std::string(extension(format)));
    Conversion plan = plan_conversion(input, options);
    write_conversion(plan, output, options);
    CheckpointOptions all;
    all.key = ".";
    Checkpoint got = load_checkpoint(output, all);
    ASSERT_EQ(got.tensors.size(), want.tensors.size());
    for (auto& [name, array] : want.tensors) {
      const mx::array* found = got.find(name);
      ASSERT_NE(found, nullptr) << name;
      EXPECT_EQ(found->dtype(), array.dtype()) << name;
      EXPECT_EQ(found->shape(), array.shape()) << name;
      // A NaN need not keep its payload through a change of type.
      EXPECT_TRUE(bytes_of(*found) == bytes_of(array) ||
                  mx::array_equal(*found, array, true).item<bool>())
          << name;
    }
    VerifyReport report = verify_conversion(input, output, options);
    EXPECT_EQ(report.source_keys, want.tensors.size());
    EXPECT_EQ(report.output_keys, want.tensors.size());
    EXPECT_TRUE(report.differences.empty())
        << report.differences[0].name << " " << report.differences[0].what;
  }
}

TEST_P(Formats, LoaderGivesWhatTorchGives) {
  CheckpointOptions options;
  options.key = ".";
  options.bfloat16_to_float32 = true;
  Checkpoint got = load_checkpoint(fixtures() / "cases" / GetParam(), options);
  Checkpoint want = load_checkpoint(fixtures() / "cases" / expected_name(GetParam()));
  ASSERT_EQ(got.tensors.size(), want.tensors.size());
  for (auto& [name, array] : want.tensors) {
    ASSERT_NE(got.find(name), nullptr) << name;
    EXPECT_TRUE(mx::array_equal(*got.find(name), array, true).item<bool>()) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, Formats, testing::ValuesIn(case_files()), [](const auto& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '.', '_');
  return name;
});

TEST(Verify, FindsOneFlippedBit) {
  TempDir dir;
  fs::path input = fixtures() / "tiny_trm/step_10", output = dir / "out.npz";
  ConvertOptions options;
  write_conversion(plan_conversion(input, options), output, options);
  std::string bytes = read_file(output);
  bytes[bytes.size() / 2] ^= 1;
  write_file(output, bytes);
  VerifyReport report = verify_conversion(input, output, options);
  ASSERT_EQ(report.differences.size(), 2u) << "the element and the record's CRC";
  EXPECT_THAT(report.differences[0].what + report.differences[1].what,
              HasSubstr("differs from element"));
  EXPECT_THAT(report.differences[0].what + report.differences[1].what, HasSubstr("CRC"));
}

TEST(Verify, FindsMissingExtraAndReshapedTensors) {
  TempDir dir;
  save_npz(dir / "in.npz",
           {{"a", mx::zeros({2})}, {"b", mx::zeros({2, 3})}, {"c", mx::zeros({2})}});
  save_npz(dir / "out.npz",
           {{"b", mx::zeros({3, 2})}, {"c", mx::zeros({2}, mx::int32)}, {"d", mx::zeros({1})}});
  VerifyReport report = verify_conversion(dir / "in.npz", dir / "out.npz", {});
  ASSERT_EQ(report.differences.size(), 4u);
  EXPECT_EQ(report.differences[0].what, "is not in the output");
  EXPECT_THAT(report.differences[1].what, HasSubstr("(3, 2)"));
  EXPECT_THAT(report.differences[2].what, HasSubstr("int32"));
  EXPECT_EQ(report.differences[3].what, "is only in the output");
}

TEST(Convert, ChoosesTheWeightsByRule) {
  SourceFile training = open_source(fixtures() / "cases/zip_training.pt");
  EXPECT_EQ(training.weights.chosen, "model_state_dict");
  ASSERT_EQ(training.weights.tensors.size(), 1u);
  EXPECT_EQ(training.weights.tensors[0].name, "w");
  ASSERT_EQ(training.weights.left.size(), 2u);
  EXPECT_EQ(training.weights.left[0], (std::pair<std::string, uint64_t>{"ema_state_dict", 1}));
  ASSERT_EQ(training.weights.others.size(), 2u) << "what is no tensor is said";
  EXPECT_EQ(training.weights.others[0].path, "epoch");
  EXPECT_EQ(training.weights.others[0].what, "3");
  // Here "list" is neither weights nor what training leaves beside them, so nothing is dropped.
  SourceFile mixed = open_source(fixtures() / "cases/zip_nested.pt");
  EXPECT_EQ(mixed.weights.chosen, "");
  EXPECT_EQ(mixed.weights.tensors.size(), 5u);
  EXPECT_EQ(open_source(fixtures() / "cases/zip_ema_object.pt").weights.chosen, "ema");
}

TEST(Convert, TakesAPartByKey) {
  SourceOptions options;
  options.key = "optimizer.state";
  SourceFile source = open_source(fixtures() / "cases/zip_nested.pt", options);
  ASSERT_EQ(source.weights.tensors.size(), 1u);
  EXPECT_EQ(source.weights.tensors[0].name, "0.m");
  options.key = "optimizer.nothing";
  EXPECT_THAT(error_of([&] { open_source(fixtures() / "cases/zip_nested.pt", options); }),
              testing::AllOf(HasSubstr("no 'nothing'"), HasSubstr("state")));
}

TEST(Convert, NamesAreMapped) {
  ConvertOptions o;
  EXPECT_EQ(output_name("_orig_mod.model.inner.w", o), "model.inner.w");
  o.strip_prefixes = {"model."};
  o.renames = {{"inner", "core"}, {"core.w", "core.weight"}};
  EXPECT_EQ(output_name("_orig_mod.model.inner.w", o), "core.weight");
  EXPECT_EQ(output_name("model.inner2.w", o), "inner2.w");
  o.add_orig_mod = true;
  EXPECT_EQ(output_name("model.a", o), "_orig_mod.a");
}

TEST(Convert, TransposesOnRequestOnly) {
  TempDir dir;
  save_npz(dir / "in.npz",
           {{"w", mx::reshape(mx::arange(6.0f), {2, 3})}, {"v", mx::zeros({2, 3})}});
  EXPECT_FALSE(should_transpose_weight("w", {2, 3}, {}));
  ConvertOptions options;
  options.transpose = {"w*"};
  write_conversion(plan_conversion(dir / "in.npz", options), dir / "out.npz", options);
  Checkpoint c = load_checkpoint(dir / "out.npz");
  EXPECT_TRUE(mx::array_equal(*c.find("w"), mx::transpose(mx::reshape(mx::arange(6.0f), {2, 3})))
                  .item<bool>());
  EXPECT_EQ(c.find("v")->shape(), (mx::Shape{2, 3}));
  EXPECT_TRUE(verify_conversion(dir / "in.npz", dir / "out.npz", options).differences.empty());
}

TEST(Convert, TiedWeightsAreReportedAndKept) {
  Conversion plan = plan_conversion(fixtures() / "cases/zip_tied.pt", {});
  EXPECT_EQ(plan.tensors.size(), 3u);
  ASSERT_EQ(plan.tied.size(), 1u);
  EXPECT_EQ(plan.tied[0], (std::vector<std::string>{"a.weight", "b.weight"}));
}

TEST(Convert, Float64OutOfRangeIsAnError) {
  TempDir dir;
  ConvertOptions keep;
  keep.dtypes.keep_float64 = true;
  save_npz(dir / "in.npz", {{"w", mx::array({1.0, 1e300}, mx::float64)}});
  EXPECT_THAT(
      error_of([&] { write_conversion(plan_conversion(dir / "in.npz", {}), dir / "out.npz", {}); }),
      testing::AllOf(HasSubstr("element 1 of w"), HasSubstr("float32")));
  EXPECT_FALSE(fs::exists(dir / "out.npz"));
  write_conversion(plan_conversion(dir / "in.npz", keep), dir / "out.npz", keep);
  EXPECT_TRUE(verify_conversion(dir / "in.npz", dir / "out.npz", keep).differences.empty());
  ConvertOptions allow;
  allow.dtypes.allow_overflow = true;
  write_conversion(plan_conversion(dir / "in.npz", allow), dir / "out.npz", allow);
  EXPECT_TRUE(
      std::isinf(mx::max(load_checkpoint(dir / "out.npz").tensors[0].second).item<float>()));
}

TEST(Convert, ShardsAndReadsThemBack) {
  TempDir dir;
  ConvertOptions options;
  options.format = OutputFormat::safetensors;
  options.shard_bytes = 40000;
  fs::path input = fixtures() / "tiny_trm/step_10";
  auto files = write_conversion(plan_conversion(input, options), dir / "m.safetensors", options);
  ASSERT_GT(files.size(), 2u);
  EXPECT_EQ(files.back().filename(), "m.safetensors.index.json");
  EXPECT_TRUE(verify_conversion(input, files.back(), options).differences.empty());
  EXPECT_EQ(open_source(dir.path()).weights.tensors.size(), 11u)
      << "the folder is read by its index";
}

// The length of such a header starts with the bytes of a pickle of protocol 2.
TEST(FormatDetection, SafetensorsWhoseHeaderLengthLooksLikeAPickle) {
  TempDir dir;
  std::string header = R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})";
  header.resize(0x280, ' ');
  write_file(dir / "x", std::string("\x80\x02\0\0\0\0\0\0", 8) + header + "\7\5");
  auto loaded = load_checkpoint(dir / "x");
  EXPECT_EQ(loaded.format, "safetensors");
  EXPECT_EQ(bytes_of(*loaded.find("a")), "\7\5");
}

}  // namespace
}  // namespace trm
