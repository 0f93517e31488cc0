// trm convert and trm inspect as a user meets them: the screen, default names, options, and every
// failure as one line with exit code 1 and nothing left behind.
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/checkpoint/helpers.h"
#include "trm/checkpoint/checkpoint.h"

namespace trm {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

std::string tiny() { return (fixtures() / "tiny_trm/step_10").string(); }

/// Copies the tiny checkpoint (and its configuration) into `dir`.
std::string copy_tiny(const TempDir& dir, bool config = true) {
  fs::create_directory(dir / "run");
  fs::copy_file(tiny(), dir / "run/step_10");
  if (config) fs::copy_file(fixtures() / "tiny_trm/all_config.yaml", dir / "run/all_config.yaml");
  return (dir / "run/step_10").string();
}

TEST(ConvertCommand, ScreenIsTheDocumentedOne) {
  TempDir dir;
  std::string in = copy_tiny(dir), out = (dir / "out.npz").string();
  Ran ran = run_trm("convert " + in + " " + out + " --verify");
  EXPECT_EQ(ran.exit_code, 0) << ran.err;
  EXPECT_EQ(ran.err, "");
  EXPECT_EQ(
      ran.out,
      "Loading PyTorch checkpoint from: " + in +
          "\n"
          "Found 11 parameters\n"
          "\n"
          "Sample keys:\n"
          "  _orig_mod.model.inner.H_init: shape=torch.Size([8]), dtype=torch.bfloat16\n"
          "  _orig_mod.model.inner.L_init: shape=torch.Size([8]), dtype=torch.bfloat16\n"
          "  _orig_mod.model.inner.embed_tokens.embedding_weight: shape=torch.Size([6, 8]), "
          "dtype=torch.float32\n"
          "  _orig_mod.model.inner.lm_head.weight: shape=torch.Size([6, 8]), dtype=torch.float32\n"
          "  _orig_mod.model.inner.q_head.weight: shape=torch.Size([2, 8]), dtype=torch.float32\n"
          "  ...\n"
          "\n"
          "Converted 11 parameters to MLX format\n"
          "\n"
          "Saving MLX checkpoint to: " +
          out +
          "\n"
          "Conversion complete!\n"
          "\n"
          "File sizes:\n"
          "  PyTorch: 0.08 MB\n"
          "  MLX: 0.08 MB\n"
          "\n"
          "Copied all_config.yaml to: " +
          (dir / "all_config.yaml").string() +
          "\n"
          "\n"
          "Verifying conversion...\n"
          "PyTorch keys: 11\n"
          "MLX keys: 11\n"
          "\n"
          "✓ Verification passed! All tensors match within tolerance.\n");
}

TEST(ConvertCommand, ReferencesCheckpoint) {
  std::string in = TRM_SOURCE_DIR "/../shared/checkpoints/step_6510";
  if (!fs::exists(in)) GTEST_SKIP() << "no ../shared/checkpoints/step_6510";
  TempDir dir;
  Ran ran = run_trm("convert " + in + " " + (dir / "x.npz").string() + " --verify");
  EXPECT_EQ(ran.exit_code, 0) << ran.err;
  EXPECT_THAT(ran.out, HasSubstr("Found 15 parameters\n"));
  EXPECT_THAT(ran.out, HasSubstr("  PyTorch: 19.19 MB\n  MLX: 19.19 MB\n"));
  EXPECT_THAT(ran.out, HasSubstr("PyTorch keys: 15\nMLX keys: 15\n"));
}

TEST(ConvertCommand, DefaultNameAndQuiet) {
  TempDir dir;
  std::string in = copy_tiny(dir);
  Ran ran = run_trm("convert " + in + " --quiet --verify");
  EXPECT_EQ(ran.exit_code, 0);
  EXPECT_EQ(ran.out + ran.err, "");
  Checkpoint c = load_checkpoint(in + ".npz");
  EXPECT_EQ(c.tensors.size(), 11u);
  EXPECT_EQ(c.find("model.inner.H_init")->dtype(), mx::float32);
  EXPECT_EQ(run_trm("convert " + in + " -q --format safetensors --keep-bf16").exit_code, 0);
  EXPECT_EQ(load_checkpoint(in + ".safetensors").find("model.inner.H_init")->dtype(), mx::bfloat16);
}

TEST(ConvertCommand, ConfigurationGoesAlong) {
  TempDir dir;
  std::string in = copy_tiny(dir);
  fs::create_directory(dir / "out");
  EXPECT_EQ(
      run_trm("convert " + in + " " + (dir / "out/a.npz").string() + " --no-copy-config").exit_code,
      0);
  EXPECT_FALSE(fs::exists(dir / "out/all_config.yaml"));
  EXPECT_EQ(run_trm("convert " + in + " " + (dir / "out/a.npz").string()).exit_code, 0);
  EXPECT_EQ(read_file(dir / "out/all_config.yaml"), read_file(dir / "run/all_config.yaml"));
  write_file(dir / "out/all_config.yaml", "mine: 1\n");
  EXPECT_THAT(run_trm("convert " + in + " " + (dir / "out/a.npz").string()).out,
              HasSubstr("Kept another all_config.yaml"));
  EXPECT_EQ(read_file(dir / "out/all_config.yaml"), "mine: 1\n");
  fs::remove(dir / "run/all_config.yaml");
  EXPECT_THAT(run_trm("convert " + in + " " + (dir / "b.npz").string()).out,
              HasSubstr("No all_config.yaml beside the input"));
}

TEST(ConvertCommand, BackToPyTorchAndAgain) {
  TempDir dir;
  std::string npz = (dir / "a.npz").string(), pt = (dir / "a.pt").string();
  EXPECT_EQ(run_trm("convert " + tiny() + " " + npz + " -q --keep-bf16").exit_code, 0);
  Ran ran = run_trm("convert " + npz + " " + pt + " --orig-mod --keep-bf16 --verify");
  EXPECT_EQ(ran.exit_code, 0) << ran.err;
  EXPECT_THAT(ran.out, HasSubstr("Converted 11 parameters to PyTorch format"));
  CheckpointOptions raw;
  raw.strip_orig_mod = false;
  Checkpoint back = load_checkpoint(pt, raw), original = load_checkpoint(tiny(), raw);
  ASSERT_EQ(back.tensors.size(), original.tensors.size());
  for (size_t i = 0; i < back.tensors.size(); ++i) {
    EXPECT_EQ(back.tensors[i].first, original.tensors[i].first);
    EXPECT_EQ(bytes_of(back.tensors[i].second), bytes_of(original.tensors[i].second));
  }
  EXPECT_EQ(run_trm("inspect " + tiny() + " --diff " + pt).exit_code, 0);
}

TEST(ConvertCommand, SeveralInputsKeepTheirPlaces) {
  TempDir dir;
  for (const char* run : {"a", "b"}) {
    fs::create_directories(dir / (std::string("runs/") + run));
    fs::copy_file(tiny(), dir / (std::string("runs/") + run + "/step_10"));
    write_file(dir / (std::string("runs/") + run + "/all_config.yaml"), run);
  }
  std::string out = (dir / "mlx").string();
  EXPECT_EQ(run_trm("convert " + (dir / "runs").string() + "/*/step_* --out-dir " + out).exit_code,
            0);
  EXPECT_TRUE(fs::exists(dir / "mlx/a/step_10.npz"));
  EXPECT_EQ(read_file(dir / "mlx/b/all_config.yaml"), "b");
  EXPECT_EQ(
      run_trm("convert " + (dir / "runs/a").string() + " --out-dir " + (dir / "flat").string())
          .exit_code,
      0);
  EXPECT_TRUE(fs::exists(dir / "flat/step_10.npz"));
  write_file(dir / "runs/b/step_10", "broken");
  Ran ran = run_trm("convert " + (dir / "runs").string() + "/*/step_* -q --out-dir " +
                    (dir / "again").string());
  EXPECT_EQ(ran.exit_code, 1);
  EXPECT_TRUE(fs::exists(dir / "again/a/step_10.npz")) << "the good one is converted all the same";
  EXPECT_THAT(ran.err, HasSubstr("1 of 2 inputs failed"));
}

TEST(ConvertCommand, ListAndSelection) {
  TempDir dir;
  Ran ran = run_trm("convert " + tiny() +
                    " --list --include '*mlp*' --exclude '*down*' --rename model.inner=core "
                    "--strip-prefix core.L_level");
  EXPECT_EQ(ran.exit_code, 0) << ran.err;
  EXPECT_EQ(ran.out.find("H_init ->"), std::string::npos);
  EXPECT_THAT(ran.out, HasSubstr("-> core.L_level.layers.0.mlp.gate_up_proj.weight: shape=(512, "
                                 "8), float32 -> float32\n"));
  EXPECT_THAT(run_trm("convert " + tiny() + " --include nothing").err,
              HasSubstr("leave none of the 11 tensors"));
  EXPECT_EQ(run_trm("convert " + tiny() + " --rename x").exit_code, 2);
  EXPECT_EQ(run_trm("convert a b c").exit_code, 2);
}

TEST(ConvertCommand, FullDiskLeavesTheOldFile) {
  TempDir dir;
  write_file(dir / "out.npz", "what was there");
  // A file size limit fails the write as a full disk does.
  for (const char* verify : {"", " --verify"}) {
    Ran ran = run_trm("convert " + tiny() + " " + (dir / "out.npz").string() + verify,
                      "trap '' XFSZ; ulimit -f 40;");
    EXPECT_EQ(ran.exit_code, 1);
    EXPECT_TRUE(one_error_line(ran.err)) << ran.err;
    EXPECT_THAT(ran.err, HasSubstr("cannot write"));
  }
  EXPECT_EQ(read_file(dir / "out.npz"), "what was there");
  EXPECT_EQ(std::distance(fs::directory_iterator(dir.path()), {}), 1);
}

TEST(ConvertCommand, InputIsNeverTheOutput) {
  TempDir dir;
  std::string in = copy_tiny(dir);
  EXPECT_THAT(run_trm("convert " + in + " " + in).err, HasSubstr("input and output at once"));
  EXPECT_EQ(read_file(in), read_file(tiny()));
}

TEST(InspectCommand, TextJsonAndDifferences) {
  TempDir dir;
  Ran text = run_trm("inspect " + tiny());
  EXPECT_EQ(text.exit_code, 0);
  EXPECT_THAT(text.out, HasSubstr("11 tensors, "));
  EXPECT_THAT(text.out, HasSubstr("(PyTorch zip)"));
  auto json = nlohmann::json::parse(
      run_trm("inspect --json " + (fixtures() / "cases/zip_training.pt").string()).out);
  EXPECT_EQ(json["tensors"].size(), 1u);
  EXPECT_EQ(json["tensors"][0]["name"], "w");
  EXPECT_EQ(json["tensors"][0]["shape"], (std::vector<int>{2, 4}));
  EXPECT_EQ(json["taken_from"], "model_state_dict");
  EXPECT_EQ(json["other_parts"]["ema_state_dict"], 1);
  save_npz(dir / "a.npz",
           {{"same", mx::zeros({3})}, {"w", mx::array({1.0f, 2.0f, 3.0f})}, {"a", mx::zeros({1})}});
  save_npz(dir / "b.npz", {{"same", mx::astype(mx::zeros({3}), mx::float16)},
                           {"w", mx::array({1.0f, 2.5f, 3.0f})},
                           {"b", mx::zeros({1})}});
  Ran diff = run_trm("inspect " + (dir / "a.npz").string() + " --diff " + (dir / "b.npz").string());
  EXPECT_EQ(diff.exit_code, 1);
  EXPECT_THAT(diff.out, HasSubstr("w: 1 of 3 elements differ, by 0.5 at most, from element 1 on"));
  EXPECT_THAT(diff.out, HasSubstr("a: only in the first"));
  EXPECT_THAT(diff.out, HasSubstr("b: only in the second"));
  EXPECT_THAT(diff.out, HasSubstr("1 tensors are equal, 3 differ"));
  EXPECT_EQ(diff.err, "");
}

}  // namespace
}  // namespace trm
