#include "trm/eval/load_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/checkpoint/helpers.h"
#include "trm/checkpoint/checkpoint.h"
#include "trm/train/config.h"

namespace trm {
namespace {

using testing::AllOf;
using testing::HasSubstr;

Model small(ModelKind kind, bool mlp_t = false, PosEncoding pos = PosEncoding::rope) {
  ArchConfig c;
  c.kind = kind;
  c.hidden_size = 24;
  c.num_heads = 2;
  c.H_layers = kind == ModelKind::hrm || kind == ModelKind::transformers_baseline ? 1 : 0;
  c.L_layers = kind == ModelKind::transformers_baseline ? 0 : 2;
  c.H_cycles = kind == ModelKind::transformers_baseline ? 1 : 2;
  c.L_cycles = 2;
  c.mlp_t = mlp_t;
  c.pos_encodings = pos;
  c.puzzle_emb_ndim = 24;
  c.puzzle_emb_len = kind == ModelKind::hrm || kind == ModelKind::transformers_baseline ? 0 : 16;
  c.forward_dtype = "float32";
  return make_model(c, {16, 6, 3}, mx::random::key(1));
}

TEST(LoadModel, InfersEveryModelFromItsShapes) {
  TempDir folder;
  struct Case {
    ModelKind kind;
    bool mlp_t;
    PosEncoding pos;
  };
  for (auto [kind, mlp_t, pos] :
       {Case{ModelKind::trm, false, PosEncoding::rope},
        Case{ModelKind::trm, true, PosEncoding::none},
        Case{ModelKind::trm, false, PosEncoding::learned},
        Case{ModelKind::trm_singlez, false, PosEncoding::rope},
        Case{ModelKind::trm_hier6, false, PosEncoding::rope},
        Case{ModelKind::hrm, false, PosEncoding::rope},
        Case{ModelKind::transformers_baseline, false, PosEncoding::rope}}) {
    SCOPED_TRACE(to_string(kind));
    auto model = small(kind, mlp_t, pos);
    save_npz(folder / "m.npz", named_arrays(model));
    auto loaded = load_model(folder / "m.npz", {{"arch.num_heads=2"}, 16, "float32"});
    EXPECT_EQ(loaded.notes.size(), 1u);
    const auto& c = loaded.model.config;
    EXPECT_EQ(c.kind, kind);
    EXPECT_EQ(c.mlp_t, mlp_t);
    EXPECT_EQ(c.pos_encodings, pos);
    EXPECT_EQ(c.hidden_size, 24);
    EXPECT_EQ(c.num_heads, 2);
    EXPECT_EQ(loaded.model.shape.seq_len, 16);
    auto a = named_arrays(model), b = named_arrays(loaded.model);
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); ++i) {
      EXPECT_EQ(a[i].first, b[i].first);
      EXPECT_EQ(bytes_of(a[i].second), bytes_of(b[i].second)) << a[i].first;
    }
  }
}

TEST(LoadModel, TakesTheConfigurationBesideTheCheckpoint) {
  TempDir folder;
  auto model = small(ModelKind::trm);
  save_safetensors(folder / "m.safetensors", named_arrays(model));
  PretrainConfig run;
  run.arch = model.config;
  run.arch.L_cycles = 5;
  write_file(folder / "all_config.yaml", to_yaml(run));
  auto loaded = load_model(folder / "m.safetensors", {{}, 16, {}});
  EXPECT_TRUE(loaded.notes.empty());
  EXPECT_EQ(loaded.model.config.L_cycles, 5);
  EXPECT_EQ(
      load_model(folder / "m.safetensors", {{"arch.L_cycles=4"}, 16, {}}).model.config.L_cycles, 4);
}

TEST(LoadModel, ListsWhatDoesNotFitApart) {
  TempDir folder;
  auto arrays = named_arrays(small(ModelKind::trm));
  for (auto& [name, array] : arrays) {
    if (name == "model.inner.lm_head.weight") array = mx::zeros({7, 24});
    if (name == "model.inner.q_head.bias") name = "model.inner.q_head.offset";
  }
  save_npz(folder / "m.npz", arrays);
  EXPECT_THAT(error_of([&] {
                load_model(folder / "m.npz", {{"arch.num_heads=2"}, 16, {}});
              }),
              AllOf(HasSubstr("missing: model.inner.q_head.bias;"),
                    HasSubstr("unexpected: model.inner.q_head.offset;"),
                    HasSubstr("wrong shape: model.inner.lm_head.weight is (7, 24), not (6, 24)")));
}

TEST(LoadModel, SaysWhenAFileIsNoTrm) {
  TempDir folder;
  save_npz(folder / "m.npz", {{"conv.weight", mx::zeros({2, 2})}});
  EXPECT_THAT(error_of([&] { load_model(folder / "m.npz", {}); }),
              HasSubstr("not a TRM checkpoint: it has no model.inner.embed_tokens"));
}

TEST(LoadModel, SaysWhenThePuzzleHasAnotherSize) {
  TempDir folder;
  save_npz(folder / "m.npz", named_arrays(small(ModelKind::trm, true, PosEncoding::none)));
  EXPECT_THAT(error_of([&] {
                load_model(folder / "m.npz", {{}, 81, {}});
              }),
              HasSubstr("for puzzles of 16 cells, not 81"));
}

}  // namespace
}  // namespace trm
