// Files and folders that are no checkpoint, or not a whole one: each is named for what it is.
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/checkpoint/helpers.h"
#include "tests/checkpoint/hostile.h"
#include "trm/checkpoint/checkpoint.h"
#include "trm/checkpoint/source_file.h"

namespace trm {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

std::string tiny() { return (fixtures() / "tiny_trm/step_10").string(); }

struct BadInput {
  std::string name, bytes, says;
};

class BadInputs : public testing::TestWithParam<BadInput> {};

TEST_P(BadInputs, OneLineExitOneNothingLeft) {
  TempDir dir;
  write_file(dir / "in", GetParam().bytes);
  write_file(dir / "out.npz", "what was there");
  for (const char* command : {"convert", "inspect"}) {
    bool convert = std::string(command) == "convert";
    Ran ran = run_trm(std::string(command) + " " + (dir / "in").string() +
                      (convert ? " " + (dir / "out.npz").string() : ""));
    EXPECT_EQ(ran.exit_code, 1);
    EXPECT_TRUE(one_error_line(ran.err)) << ran.err;
    EXPECT_THAT(ran.err, HasSubstr(GetParam().says));
  }
  EXPECT_EQ(read_file(dir / "out.npz"), "what was there");
  EXPECT_EQ(std::distance(fs::directory_iterator(dir.path()), {}), 2);
}

/// What torch.save(optimizer.state_dict()) makes, or that under a key beside an epoch.
std::string optimizer_file(bool nested) {
  using namespace hostile;
  std::string state = "}(" + text("state") + "}K\1}" + text("exp_avg") + tensor(4, 0, {4}, {1}) +
                      "ss" + text("param_groups") + "]u";
  if (nested)
    state = "}(" + text("optimizer_state_dict") + state + text("epoch") + "K\3" +
            text("rng_state") + tensor(4, 0, {4}, {1}) + "u";
  return torch_file(kProto + state + ".");
}

std::vector<BadInput> bad_inputs() {
  std::string torch = read_file(tiny());
  std::string legacy = read_file(fixtures() / "cases/legacy_strides.pt");
  std::string npz = read_file(fixtures() / "cases/npz.npz");
  std::string safe = read_file(fixtures() / "cases/safetensors.safetensors");
  std::string tar = read_file(fixtures() / "cases/tar.tar");
  std::string encrypted = torch;
  size_t entry = encrypted.find("PK\1\2");
  encrypted[entry + 8] |= 1;
  return {
      {"empty", "", "empty (0 bytes)"},
      {"truncated_zip", torch.substr(0, torch.size() / 2), "cut off"},
      {"truncated_zip_end", torch.substr(0, torch.size() - 1), "cut off"},
      {"truncated_legacy", legacy.substr(0, legacy.size() - 5), "cut off"},
      {"truncated_legacy_pickle", legacy.substr(0, 100), "cut off"},
      {"truncated_npz", npz.substr(0, npz.size() - 30), "cut off"},
      {"truncated_safetensors", safe.substr(0, safe.size() - 1), "cut off"},
      {"truncated_safetensors_header", safe.substr(0, 50), "cut off"},
      {"truncated_tar", tar.substr(0, 1500), "[tar]"},
      {"text", "hello, world\n", "text, not a checkpoint"},
      {"html", "\n<!DOCTYPE html><html><body>Sign in</body></html>", "a web page"},
      {"lfs", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 20125664\n",
       "git lfs pull"},
      {"gzip", "\x1f\x8b\x08" + std::string(100, 'x'), "gunzip"},
      {"tar_gz", "\x1f\x8b\x08\x08" + std::string(10, '\0') + "model.tar", "tar xzf"},
      {"bzip2", "BZh91AY&SY" + std::string(100, 'x'), "bunzip2"},
      {"xz", "\xfd" + std::string("7zXZ\0", 6) + std::string(100, 'x'), "unxz"},
      {"zstd", "\x28\xb5\x2f\xfd" + std::string(100, 'x'), "unzstd"},
      {"server_answer", "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>",
       "answer of a server"},
      {"gguf", "GGUF" + std::string(100, '\1'), "GGUF"},
      {"keras", "\x89HDF\r\n\x1a\n" + std::string(100, '\0'), "Keras"},
      {"keras_zip",
       hostile::zip_of({{"metadata.json", "{}"}, {"config.json", "{}"}, {"model.weights.h5", ""}}),
       "a Keras model"},
      {"onnx", std::string("\x08\x07\x12\x07pytorch\x1a\x05", 14) + std::string(100, '\1'), "ONNX"},
      {"onnx_of_another_exporter", "\x08\x08\x12\x07tf2onnx" + std::string(100, '\1'), "ONNX"},
      {"tensorflow_saved_model", "\x08\x01\x12\xb0\x0a\x0a" + std::string(100, '\1'), "TensorFlow"},
      {"tensorflow_graph", "\x0a\x1f\x0a\x01x\x12\x0bPlaceholder" + std::string(100, '\1'),
       "TensorFlow"},
      {"tensorflow_index",
       std::string("\0\0\x06\x08\x01\x1a\x02\x08\x01", 9) + std::string(100, '\1'), "TensorFlow"},
      {"tflite", std::string("\x1c\0\0\0TFL3", 8) + std::string(100, '\1'), "TensorFlow Lite"},
      {"json", "{\"weight_map\": {}}", "JSON"},
      {"zeros", std::string(4096, '\0'), "zeros"},
      {"pickle", std::string("\x80\x02}q\0.", 6), "none that torch.save made"},
      {"encrypted", encrypted, "encrypted"},
      {"optimizer", optimizer_file(false), "only an optimizer's state is in the file, no weights"},
      {"optimizer_and_random_state", optimizer_file(true), "('optimizer_state_dict'), no weights"},
  };
}

INSTANTIATE_TEST_SUITE_P(Kinds, BadInputs, testing::ValuesIn(bad_inputs()),
                         [](const auto& info) { return info.param.name; });

TEST(Diagnosis, MissingFilesAndFolders) {
  TempDir dir;
  Ran ran = run_trm("convert " + (dir / "nothing").string());
  EXPECT_EQ(ran.exit_code, 1);
  EXPECT_TRUE(one_error_line(ran.err));
  EXPECT_THAT(ran.err, HasSubstr("there is no file"));
  fs::create_directory(dir / "model");
  EXPECT_THAT(run_trm("convert " + (dir / "model").string()).err, HasSubstr("a folder without"));
  write_file(dir / "model/model.safetensors", "x");
  EXPECT_THAT(run_trm("convert " + (dir / "model").string()).err, HasSubstr("give the file in it"));
  for (auto [file, says] : {std::pair{"pytorch_model.bin.index.json", "several .bin files"},
                            std::pair{"saved_model.pb", "a TensorFlow model"},
                            std::pair{"data.pkl", "an unpacked PyTorch archive"}}) {
    fs::create_directory(dir / says);
    write_file(dir / says / file, "x");
    EXPECT_THAT(error_of([&] { open_source(dir / says); }), HasSubstr(says));
  }
  EXPECT_THAT(run_trm("convert " + tiny() + " " + (dir / "no/such/out.npz").string()).err,
              HasSubstr("cannot create"));
  EXPECT_THAT(run_trm("inspect /dev/null").err, HasSubstr("a device or pipe"));
}

TEST(Diagnosis, AnOptimizerIsConvertedByKey) {
  TempDir dir;
  write_file(dir / "in", optimizer_file(true));
  EXPECT_EQ(run_trm("convert -q --key optimizer_state_dict " + (dir / "in").string()).exit_code, 0);
  EXPECT_EQ(load_checkpoint(dir / "in.npz").tensors[0].first, "state.1.exp_avg");
}

}  // namespace
}  // namespace trm
