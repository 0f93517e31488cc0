// The memory that a run is told to need, against what MLX counts.
#include "trm/train/memory.h"

#include <gtest/gtest.h>

#include "trm/ops/cpu/threads.h"
#include "trm/train/train_step.h"

namespace trm {
namespace {

struct Case {
  ModelKind kind;
  const char* dtype;
  bool mlp_t = false, recompute = false;
};

class Memory : public testing::TestWithParam<Case> {};

/// The most that one step held beyond what was there before it.
double measured(const Model& model, int rows) {
  mx::Shape grid{rows, model.shape.seq_len};
  auto tokens = mx::random::randint(mx::array(1), mx::array(model.shape.vocab_size), grid,
                                    mx::int32, mx::random::key(1));
  Examples batch{tokens, tokens, mx::zeros({rows}, mx::int32)};
  auto carry = initial_carry(model, batch);
  Arrays before = carry.z;
  before.insert(before.end(), {carry.steps, carry.halted, tokens, batch.puzzle_identifiers});
  for (auto& w : trainable(model)) before.push_back(w);
  mx::eval(before);
  ops::release_memory();
  mx::clear_cache();
  mx::reset_peak_memory();
  size_t start = mx::get_active_memory();
  auto g = train_gradients(model, carry, batch, mx::random::key(2), rows);
  Arrays all = g.weights;
  all.push_back(g.step.loss);
  for (auto& z : g.step.carry.z) all.push_back(z);
  mx::eval(all);
  return static_cast<double>(mx::get_peak_memory() - start);
}

TEST_P(Memory, GrowsWithTheRowsAsEstimated) {
  ArchConfig c;
  c.kind = GetParam().kind;
  c.mlp_t = GetParam().mlp_t;
  c.forward_dtype = GetParam().dtype;
  c.hidden_size = c.puzzle_emb_ndim = 64;
  c.num_heads = 4;
  c.puzzle_emb_len = 2;
  c.H_cycles = 2;
  c.L_cycles = c.kind == ModelKind::hrm ? 2 : 6;
  c.H_layers = c.L_layers = c.kind == ModelKind::transformers_baseline ? 6 : 2;
  auto model = make_model(c, {62, 11, 1}, mx::random::key(0));
  model.io().context.recompute = GetParam().recompute;
  double estimate = static_cast<double>(step_bytes(model, 24) - step_bytes(model, 8));
  double truth = measured(model, 24) - measured(model, 8);
  RecordProperty("estimate_over_measured", std::to_string(estimate / truth));
  EXPECT_GT(estimate, 0.7 * truth) << truth;
  EXPECT_LT(estimate, 2 * truth) << truth;
}

INSTANTIATE_TEST_SUITE_P(Models, Memory,
                         testing::Values(Case{ModelKind::trm, "bfloat16"},
                                         Case{ModelKind::trm, "float32", true},
                                         Case{ModelKind::trm, "float32", true, true},
                                         Case{ModelKind::trm_singlez, "bfloat16"},
                                         Case{ModelKind::trm_hier6, "bfloat16"},
                                         Case{ModelKind::hrm, "bfloat16"},
                                         Case{ModelKind::transformers_baseline, "float32"}),
                         [](auto& info) {
                           auto& p = info.param;
                           return std::string(to_string(p.kind)) + "_" + p.dtype +
                                  (p.mlp_t ? "_mlp" : "") + (p.recompute ? "_recomputed" : "");
                         });

}  // namespace
}  // namespace trm
