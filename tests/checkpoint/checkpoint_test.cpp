// load_checkpoint() and the save functions: what is saved comes back bit for bit.
#include "trm/checkpoint/checkpoint.h"

#include <complex>
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/checkpoint/helpers.h"

namespace trm {
namespace {

using testing::HasSubstr;

NamedArrays every_dtype() {
  using mx::array;
  NamedArrays out;
  out.emplace_back("bool", array({true, false, true}));
  out.emplace_back("uint8", array({0, 255}, mx::uint8));
  out.emplace_back("uint16", array({0, 65535}, mx::uint16));
  out.emplace_back("uint32", mx::full({2, 1}, array(uint32_t{4294967295u})));
  out.emplace_back("uint64", mx::full({2}, array(~uint64_t{0})));
  out.emplace_back("int8", array({-128, 127}, mx::int8));
  out.emplace_back("int16", array({-32768, 32767}, mx::int16));
  out.emplace_back("int32", array({-2147483647 - 1, 7}, mx::int32));
  out.emplace_back("int64", mx::full({1, 2}, array(int64_t{-9223372036854775807 - 1})));
  out.emplace_back("float16", mx::astype(array({1.5f, -65504.0f}), mx::float16));
  out.emplace_back("bfloat16", mx::astype(array({1.5f, -3e38f, 1e-40f}), mx::bfloat16));
  out.emplace_back("float32", array({1.5f, -0.0f, 3e-45f}));
  out.emplace_back("complex64", array(std::complex<float>(1.0f, -2.0f)));
  out.emplace_back("scalar", array(3.25f));
  out.emplace_back("empty", mx::zeros({0, 3}));
  out.emplace_back("transposed", mx::transpose(mx::reshape(mx::arange(6.0f), {2, 3})));
  return out;
}

void expect_same(const NamedArrays& want, const NamedArrays& got) {
  ASSERT_EQ(want.size(), got.size());
  for (auto& [name, array] : want) {
    auto found = std::find_if(got.begin(), got.end(), [&](auto& p) { return p.first == name; });
    ASSERT_NE(found, got.end()) << name;
    EXPECT_EQ(array.dtype(), found->second.dtype()) << name;
    EXPECT_EQ(array.shape(), found->second.shape()) << name;
    EXPECT_EQ(bytes_of(array), bytes_of(found->second)) << name;
  }
}

TEST(Checkpoint, NpzRoundTrip) {
  TempDir dir;
  save_npz(dir / "a.npz", every_dtype());
  Checkpoint c = load_checkpoint(dir / "a.npz");
  EXPECT_EQ(c.format, "npz");
  expect_same(every_dtype(), c.tensors);
  for (size_t i = 0; i < c.tensors.size(); ++i)
    EXPECT_EQ(c.tensors[i].first, every_dtype()[i].first) << "file order";
}

TEST(Checkpoint, SafetensorsRoundTrip) {
  TempDir dir;
  save_safetensors(dir / "a.bin", every_dtype(), {{"format", "mlx"}, {"quote\"", "line\n"}});
  Checkpoint c = load_checkpoint(dir / "a.bin");
  EXPECT_EQ(c.format, "safetensors");
  EXPECT_EQ(c.metadata.at("quote\""), "line\n");
  expect_same(every_dtype(), c.tensors);
}

TEST(Checkpoint, TorchRoundTrip) {
  TempDir dir;
  save_torch(dir / "a.pt", every_dtype());
  Checkpoint c = load_checkpoint(dir / "a.pt");
  EXPECT_EQ(c.format, "PyTorch zip");
  expect_same(every_dtype(), c.tensors);
}

TEST(Checkpoint, EmptySetOfTensors) {
  TempDir dir;
  save_npz(dir / "a.npz", {});
  EXPECT_TRUE(load_checkpoint(dir / "a.npz").tensors.empty());
  save_safetensors(dir / "a.safetensors", {});
  EXPECT_TRUE(load_checkpoint(dir / "a.safetensors").tensors.empty());
}

TEST(Checkpoint, Bfloat16BecomesFloat32OnRequest) {
  TempDir dir;
  save_npz(dir / "a.npz", {{"w", mx::astype(mx::array({1.5f, -2.0f}), mx::bfloat16)}});
  CheckpointOptions options;
  options.bfloat16_to_float32 = true;
  Checkpoint c = load_checkpoint(dir / "a.npz", options);
  EXPECT_EQ(c.find("w")->dtype(), mx::float32);
  EXPECT_TRUE(mx::array_equal(*c.find("w"), mx::array({1.5f, -2.0f})).item<bool>());
  EXPECT_EQ(c.find("nothing"), nullptr);
}

TEST(Checkpoint, StripsOrigMod) {
  EXPECT_EQ(strip_orig_mod("_orig_mod.model.w"), "model.w");
  EXPECT_EQ(strip_orig_mod("model._orig_mod.inner._orig_mod.w"), "model.inner.w");
  EXPECT_EQ(strip_orig_mod("model._orig_mode.w"), "model._orig_mode.w");
  EXPECT_EQ(strip_orig_mod("_orig_mod"), "_orig_mod");
  EXPECT_EQ(strip_orig_mod(""), "");
}

TEST(Checkpoint, FileThatShrinksIsAnError) {
  TempDir dir;
  save_npz(dir / "a.npz", {{"w", mx::zeros({1000})}});
  Checkpoint c = load_checkpoint(dir / "a.npz");
  std::filesystem::resize_file(dir / "a.npz", 200);
  EXPECT_THAT(error_of([&] { mx::eval(c.tensors[0].second); }), HasSubstr("shrank"));
}

TEST(Checkpoint, NamesThatNpzCannotHold) {
  TempDir dir;
  for (const std::string& name :
       {std::string("/a"), std::string("../a"), std::string("a/../b"), std::string("a/.."),
        std::string(".."), std::string("a\0b", 3), std::string()}) {
    EXPECT_THAT(error_of([&] {
                  save_npz(dir / "a.npz", {{name, mx::zeros({1})}});
                }),
                HasSubstr("cannot stand"));
  }
  EXPECT_THAT(error_of([&] {
                save_npz(dir / "a.npz", {{"a", mx::zeros({1})}, {"a", mx::zeros({1})}});
              }),
              HasSubstr("two tensors"));
  EXPECT_THAT(error_of([&] {
                save_npz(dir / "a.npz", {{"a", mx::zeros({1})}, {"a.npy", mx::zeros({1})}});
              }),
              HasSubstr("collide"));
  EXPECT_TRUE(std::filesystem::is_empty(dir.path())) << "nothing is left behind";
}

TEST(Checkpoint, ReadsTheReferencesCheckpoint) {
  std::filesystem::path file = TRM_SOURCE_DIR "/../shared/checkpoints/step_6510";
  if (!std::filesystem::exists(file)) GTEST_SKIP() << "no ../shared/checkpoints/step_6510";
  Checkpoint c = load_checkpoint(file);
  ASSERT_EQ(c.tensors.size(), 15u);
  EXPECT_EQ(c.tensors[0].first, "model.inner.H_init");
  EXPECT_EQ(c.tensors[0].second.dtype(), mx::bfloat16);
  EXPECT_EQ(c.find("model.inner.L_level.layers.1.mlp.down_proj.weight")->shape(),
            (mx::Shape{512, 1536}));
  CheckpointOptions raw;
  raw.strip_orig_mod = false;
  EXPECT_EQ(load_checkpoint(file, raw).tensors[0].first, "_orig_mod.model.inner.H_init");
}

}  // namespace
}  // namespace trm
