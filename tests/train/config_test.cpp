#include "trm/train/config.h"

#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "trm/io/atomic_file.h"
#include "trm/train/embedded.h"

namespace trm {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

std::string error_of(const std::vector<std::string>& overrides) {
  try {
    load_config(std::nullopt, overrides);
  } catch (const std::exception& e) {
    return e.what();
  }
  return "";
}

class ConfigFile : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() /
              ("trm_config_" + std::to_string(getpid()) + "_" +
               testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::create_directories(folder_ / "arch");
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::filesystem::path write(const std::string& name, const std::string& text) {
    write_file_atomically(folder_ / name, text);
    return folder_ / name;
  }
  std::filesystem::path folder_;
};

TEST(Config, DefaultsAreTheReferences) {
  auto c = load_config(std::nullopt, {});
  EXPECT_THAT(c.data_paths, ElementsAre("data/arc-aug-1000"));
  ASSERT_EQ(c.evaluators.size(), 1u);
  EXPECT_EQ(c.evaluators[0].name, "arc@ARC");
  EXPECT_EQ(c.global_batch_size, 768);
  EXPECT_EQ(c.epochs, 100000);
  EXPECT_EQ(c.eval_interval, 10000);
  EXPECT_TRUE(c.checkpoint_every_eval);
  EXPECT_EQ(c.lr, 1e-4);
  EXPECT_EQ(c.lr_min_ratio, 1.0);
  EXPECT_EQ(c.lr_warmup_steps, 2000);
  EXPECT_EQ(c.beta2, 0.95);
  EXPECT_EQ(c.weight_decay, 0.1);
  EXPECT_EQ(c.puzzle_emb_lr, 1e-2);
  EXPECT_EQ(c.puzzle_emb_weight_decay, 0.1);
  EXPECT_FALSE(c.ema);
  EXPECT_EQ(c.ema_rate, 0.999);
  EXPECT_FALSE(c.load_checkpoint);
  ArchConfig defaults;
  EXPECT_EQ(c.arch.puzzle_emb_ndim, defaults.puzzle_emb_ndim);
  EXPECT_EQ(c.arch.L_cycles, defaults.L_cycles);
  EXPECT_EQ(c.arch.forward_dtype, defaults.forward_dtype);
  EXPECT_EQ(c.arch.halt_exploration_prob, defaults.halt_exploration_prob);
}

// The reference's documented command line, word for word after the program's name.
TEST(Config, TakesTheDocumentedSudokuCommandLine) {
  auto c = load_config(std::nullopt,
                       {"arch=trm", "data_paths=[data/sudoku-extreme-1k-aug-1000]", "evaluators=[]",
                        "epochs=50000", "eval_interval=5000", "lr=1e-4", "puzzle_emb_lr=1e-4",
                        "weight_decay=1.0", "puzzle_emb_weight_decay=1.0", "arch.mlp_t=True",
                        "arch.pos_encodings=none", "arch.L_layers=2", "arch.H_cycles=3",
                        "arch.L_cycles=6", "+run_name=pretrain_mlp_t_sudoku", "ema=True"});
  EXPECT_THAT(c.data_paths, ElementsAre("data/sudoku-extreme-1k-aug-1000"));
  EXPECT_TRUE(c.evaluators.empty());
  EXPECT_EQ(c.epochs, 50000);
  EXPECT_EQ(c.weight_decay, 1.0);
  EXPECT_EQ(c.puzzle_emb_lr, 1e-4);
  EXPECT_TRUE(c.arch.mlp_t);
  EXPECT_EQ(c.arch.pos_encodings, PosEncoding::none);
  EXPECT_EQ(c.run_name, "pretrain_mlp_t_sudoku");
  EXPECT_TRUE(c.ema);
}

TEST(Config, EveryArchitectureLoads) {
  EXPECT_EQ(load_config(std::nullopt, {"arch=trm_hier6"}).arch.kind, ModelKind::trm_hier6);
  EXPECT_EQ(load_config(std::nullopt, {"arch=trm_singlez"}).arch.kind, ModelKind::trm_singlez);
  auto hrm = load_config(std::nullopt, {"arch=hrm"}).arch;
  EXPECT_EQ(hrm.kind, ModelKind::hrm);
  EXPECT_EQ(hrm.H_layers, 4);
  EXPECT_FALSE(hrm.no_ACT_continue);
  EXPECT_EQ(puzzle_emb_tokens(hrm), 1);
  auto baseline = load_config(std::nullopt, {"arch=transformers_baseline"}).arch;
  EXPECT_EQ(baseline.num_heads, 12);
  EXPECT_EQ(baseline.H_layers, 8);
}

TEST(Config, InterpolationFollowsOverrides) {
  EXPECT_EQ(load_config(std::nullopt, {"arch.hidden_size=64"}).arch.puzzle_emb_ndim, 64);
  EXPECT_EQ(load_config(std::nullopt, {"arch.hidden_size=64", "arch.puzzle_emb_ndim=8"})
                .arch.puzzle_emb_ndim,
            8);
  EXPECT_EQ(load_config(std::nullopt, {"run_name=s${seed}-${arch.L_cycles}", "seed=3"}).run_name,
            "s3-6");
  EXPECT_THAT(error_of({"run_name=${run_name}"}), HasSubstr("refers to itself"));
  EXPECT_THAT(error_of({"run_name=${nothing}"}), HasSubstr("no 'nothing'"));
  EXPECT_THAT(error_of({"run_name=${....x}"}), HasSubstr("above the root"));
}

TEST(Config, ValuesAreReadByType) {
  auto c = load_config(std::nullopt, {"epochs=50_000", "eval_interval=null", "run_name=123",
                                      "data_paths_test=[a,'b c']", "max_seconds=1.5", "ema=1"});
  EXPECT_EQ(c.epochs, 50000);
  EXPECT_FALSE(c.eval_interval);
  EXPECT_EQ(c.run_name, "123");
  EXPECT_THAT(c.data_paths_test, ElementsAre("a", "b c"));
  EXPECT_EQ(c.max_seconds, 1.5);
  EXPECT_TRUE(c.ema);
}

TEST(Config, RefusesWhatItDoesNotKnow) {
  EXPECT_THAT(error_of({"weigth_decay=1"}),
              AllOf(HasSubstr("unknown key 'weigth_decay'"), HasSubstr("weight_decay")));
  EXPECT_THAT(error_of({"hidden_size=1"}), HasSubstr("arch.hidden_size"));
  EXPECT_THAT(error_of({"arch.loss.los_type=1"}), HasSubstr("arch.loss.loss_type"));
  EXPECT_THAT(error_of({"+qqqqqqqqqqqqqqqqqqqqq=1"}), HasSubstr("--dry-run"));
  EXPECT_THAT(error_of({"arch=tmr"}), AllOf(HasSubstr("arch=tmr"), HasSubstr("did you mean trm")));
  EXPECT_THAT(error_of({"arch=../../etc/passwd"}), HasSubstr("no architecture"));
  EXPECT_THAT(error_of({"evaluators=[{name: arc@ARC, pas_Ks: [1]}]"}), HasSubstr("pass_Ks"));
  EXPECT_THAT(error_of({"evaluators=[{name: sudoku@X}]"}), HasSubstr("arc@ARC"));
}

TEST(Config, RefusesWrongTypesNamingKeyAndValue) {
  EXPECT_THAT(error_of({"lr=fast"}), HasSubstr("lr must be a number, not 'fast'"));
  EXPECT_THAT(error_of({"lr=nan"}), HasSubstr("lr must be a number"));
  EXPECT_THAT(error_of({"epochs=1.5"}), HasSubstr("epochs must be a whole number, not '1.5'"));
  EXPECT_THAT(error_of({"epochs=1e30"}), HasSubstr("epochs must be a whole number"));
  EXPECT_THAT(error_of({"ema=maybe"}), HasSubstr("ema must be True or False, not 'maybe'"));
  EXPECT_THAT(error_of({"data_paths=data/x"}), HasSubstr("data_paths must be a list"));
  EXPECT_THAT(error_of({"arch.num_heads=[1]"}), HasSubstr("arch.num_heads must be a whole number"));
  EXPECT_THAT(error_of({"arch.pos_encodings=sine"}), HasSubstr("rope, learned, none"));
  EXPECT_THAT(error_of({"arch.loss.loss_type=l2"}), HasSubstr("stablemax_cross_entropy"));
  EXPECT_THAT(error_of({"epochs=null"}), HasSubstr("epochs must be a whole number, not null"));
  EXPECT_THAT(error_of({"lr.x=1"}), HasSubstr("'lr' is a value"));
  EXPECT_THAT(error_of({"noequals"}), HasSubstr("key=value"));
  EXPECT_THAT(error_of({"data_paths=[a"}), HasSubstr("not a list"));
}

TEST(Config, RefusesImpossibleValues) {
  EXPECT_THAT(error_of({"epochs=0"}), HasSubstr("epochs must be greater than 0"));
  EXPECT_THAT(error_of({"epochs=100", "eval_interval=33"}), HasSubstr("must divide epochs"));
  EXPECT_THAT(error_of({"data_paths=[]"}), HasSubstr("at least one data set"));
  EXPECT_THAT(error_of({"beta1=1.0"}), HasSubstr("beta1 must lie in [0, 1)"));
}

TEST_F(ConfigFile, GoesToYamlAndBack) {
  auto c = load_config(std::nullopt,
                       {"arch=hrm", "arch.hidden_size=96", "lr=3e-5", "run_name='a: \"b\" #c'",
                        "data_paths=[x, 'y z', '7']", "eval_interval=null", "max_seconds=60"});
  auto back = load_run_config(write("all_config.yaml", to_yaml(c)));
  EXPECT_THAT(differences(c, back), testing::IsEmpty());
  EXPECT_EQ(to_yaml(c), to_yaml(back));
  EXPECT_EQ(back.run_name, "a: \"b\" #c");
  EXPECT_THAT(to_yaml(c),
              AllOf(HasSubstr("name: recursive_reasoning.hrm@HierarchicalReasoningModel_ACTV1"),
                    HasSubstr("name: losses@ACTLossHead"), HasSubstr("lr: 3.0e-05")));
}

// As the reference's pydantic dump through PyYAML looks, with a key of its own that we don't have.
TEST_F(ConfigFile, ReadsTheReferencesAllConfig) {
  auto file = write("all_config.yaml", R"(arch:
  H_cycles: 3
  H_layers: 0
  L_cycles: 4
  L_layers: 2
  expansion: 4
  forward_dtype: bfloat16
  halt_exploration_prob: 0.1
  halt_max_steps: 16
  hidden_size: 256
  loss:
    loss_type: stablemax_cross_entropy
    name: losses@ACTLossHead
  mlp_t: false
  name: recursive_reasoning.trm@TinyRecursiveReasoningModel_ACTV1
  no_ACT_continue: true
  num_heads: 8
  pos_encodings: rope
  puzzle_emb_len: 16
  puzzle_emb_ndim: 256
  something_new: 3
beta1: 0.9
data_paths:
- data/maze-30x30-hard-1k
epochs: 50000
eval_interval: 5000
evaluators: []
global_batch_size: 768
lr: 0.0001
run_name: pretrain_att_maze30x30
some_new_key: [1, 2]
)");
  auto c = load_run_config(file, {"epochs=10000"});
  EXPECT_EQ(c.arch.L_cycles, 4);
  EXPECT_EQ(c.arch.hidden_size, 256);
  EXPECT_EQ(c.epochs, 10000);
  EXPECT_EQ(load_arch_config(file, {"arch.L_cycles=5"}).L_cycles, 5);
  EXPECT_THROW(load_run_config(file, {"some_new_key=1"}), std::invalid_argument);
}

TEST_F(ConfigFile, ModelsKeepTheirOwnDefaults) {
  auto file = write("all_config.yaml",
                    "arch:\n  name: recursive_reasoning.hrm@HierarchicalReasoningModel_ACTV1\n"
                    "  hidden_size: 64\n");
  auto arch = load_arch_config(file);
  EXPECT_FALSE(arch.no_ACT_continue);
  EXPECT_EQ(arch.puzzle_emb_ndim, 64);
  EXPECT_EQ(arch.puzzle_emb_len, 0);
}

TEST_F(ConfigFile, ReadsARecipeOverTheDefaults) {
  write("arch/mine.yaml",
        "name: recursive_reasoning.trm_singlez@X\nhidden_size: 40\nnum_heads: 4\n");
  auto file = write("recipe.yaml",
                    "defaults:\n  - cfg_pretrain\n  - arch: mine\n  - _self_\n"
                    "epochs: 40\neval_interval: 20\narch:\n  L_cycles: 2\n");
  auto c = load_config(file.string(), {"lr=1e-3"});
  EXPECT_EQ(c.arch.kind, ModelKind::trm_singlez);
  EXPECT_EQ(c.arch.hidden_size, 40);
  EXPECT_EQ(c.arch.L_cycles, 2);
  EXPECT_EQ(c.epochs, 40);
  EXPECT_EQ(c.lr, 1e-3);
  EXPECT_EQ(c.lr_warmup_steps, 2000);
  EXPECT_EQ(load_config(file.string(), {"arch=hrm"}).arch.H_layers, 4);
}

TEST_F(ConfigFile, RefusesUnusableFiles) {
  auto fails = [](const std::string& file) {
    try {
      load_config(file, {});
    } catch (const std::exception& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_THAT(fails(write("a.yaml", "lr: [1").string()), HasSubstr("not usable YAML"));
  EXPECT_THAT(fails(write("b.yaml", "just text").string()), HasSubstr("key: value"));
  EXPECT_THAT(fails(write("c.yaml", "").string()), HasSubstr("key: value"));
  EXPECT_THAT(fails(write("d.yaml", std::string(3000, '[')).string()),
              HasSubstr("not usable YAML"));
  EXPECT_THAT(fails(write("e.yaml", std::string(2 << 20, 'x')).string()), HasSubstr("1 MiB"));
  EXPECT_THAT(fails(write("f.yaml",
                          "a: &a [1,1,1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\n"
                          "c: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c]\n"
                          "e: [*d,*d,*d,*d,*d,*d,*d,*d]\n")
                        .string()),
              HasSubstr("too large"));
  EXPECT_THAT(fails(write("g.yaml", "a: &a [*a]\n").string()), HasSubstr("[config]"));
  EXPECT_THAT(fails((folder_ / "none.yaml").string()), HasSubstr("no file"));
  EXPECT_THAT(fails(folder_.string()), HasSubstr("is a folder"));
  EXPECT_THAT(fails("cfg_pretran"), HasSubstr("did you mean cfg_pretrain?"));
  EXPECT_THAT(fails(write("h.yaml", "defaults:\n  - " + (folder_ / "h.yaml").string()).string()),
              HasSubstr("circle"));
}

TEST(Config, DifferencesIgnoreWhatOnlyDecidesHowLongARunGoes) {
  auto a = load_config(std::nullopt, {});
  auto b = load_config(std::nullopt, {"max_steps=5", "keep_last=2", "lr=2e-4", "arch.mlp_t=True"});
  EXPECT_THAT(differences(a, b), ElementsAre("arch.mlp_t: false -> true", "lr: 0.0001 -> 0.0002"));
}

TEST(Config, NamesARunThatHasNone) {
  auto c = load_config(std::nullopt, {"data_paths=[data/Sudoku-Extreme-1k/]"});
  name_run(c, 0x123456789);
  EXPECT_EQ(c.project_name, "Sudoku-extreme-1k-ACT-mlx");
  EXPECT_THAT(*c.run_name, testing::StartsWith("trm-"));
  EXPECT_EQ(c.run_folder(), std::filesystem::path("checkpoints") / *c.project_name / *c.run_name);
  auto named = load_config(std::nullopt, {"run_name=mine", "checkpoint_path=out/here"});
  name_run(named, 1);
  EXPECT_EQ(named.run_name, "mine");
  EXPECT_EQ(named.run_folder(), "out/here");
}

TEST(Config, EveryRecipeLoads) {
  for (auto& [name, text] : embedded_configs()) {
    if (name.starts_with("arch/")) continue;
    EXPECT_NO_THROW(load_config(name, {})) << name;
  }
}

TEST(Config, IsCarriedInTheProgram) {
  for (auto name : {"cfg_pretrain.yaml", "arch/trm.yaml", "arch/hrm.yaml"}) {
    std::ifstream file(std::string(TRM_SOURCE_DIR "/config/") + name);
    std::string text(std::istreambuf_iterator<char>(file), {});
    EXPECT_EQ(embedded_configs().at(name), text);
  }
}

}  // namespace
}  // namespace trm
