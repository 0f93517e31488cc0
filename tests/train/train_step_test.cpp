#include "trm/train/train_step.h"

#include <algorithm>

#include <gtest/gtest.h>

namespace trm {
namespace {

constexpr int kRows = 6;

ArchConfig tiny() {
  ArchConfig c;
  c.hidden_size = 16;
  c.num_heads = 2;
  c.L_layers = 1;
  c.H_cycles = 2;
  c.L_cycles = 1;
  c.puzzle_emb_ndim = 16;
  c.puzzle_emb_len = 1;
  c.halt_max_steps = 4;
  c.halt_exploration_prob = 0.7f;
  c.forward_dtype = "float32";
  return c;
}

Hyperparameters hyper() {
  Hyperparameters h;
  h.global_batch_size = kRows;
  h.lr = h.puzzle_emb_lr = 1e-2;
  h.total_steps = 100;
  return h;
}

Examples batch(int i) {
  auto [k1, k2] = mx::random::split(mx::random::key(static_cast<uint64_t>(i)));
  return {mx::random::randint(mx::array(1), mx::array(6), {kRows, 9}, mx::int32, k1),
          mx::random::randint(mx::array(1), mx::array(6), {kRows, 9}, mx::int32, k2),
          mx::remainder(mx::arange(kRows), mx::array(4))};
}

TrainState start() {
  return make_train_state(make_model(tiny(), {9, 6, 4}, mx::random::key(1)), batch(0),
                          mx::random::key(2), true);
}

void apply(TrainState& state, const Gradients& g, const Hyperparameters& h) {
  finish_train_step(state, g.weights, g.puzzle_rows, g.step.carry.current.puzzle_identifiers, h);
  mx::eval(state_arrays(state));
}

void expect_near(const mx::array& a, const mx::array& b, float tolerance, const std::string& what) {
  ASSERT_EQ(a.shape(), b.shape()) << what;
  if (a.size() == 0) return;
  auto off = mx::max(mx::abs(mx::astype(a, mx::float32) - mx::astype(b, mx::float32)));
  EXPECT_LE(off.item<float>(), tolerance) << what;
}

void expect_same(const TrainState& a, const TrainState& b, float tolerance) {
  auto left = state_arrays(a), right = state_arrays(b);
  ASSERT_EQ(left.size(), right.size());
  for (size_t i = 0; i < left.size(); ++i) {
    expect_near(left[i], right[i], tolerance, "array " + std::to_string(i));
  }
}

// Eight steps, so that rows halt and start anew while others go on; exploration draws at every one.
TEST(TrainStep, PartsOfABatchGiveTheWholeBatch) {
  auto whole = start(), parts = start();
  auto h = hyper(), h_parts = hyper();
  h_parts.micro_batch_size = 4;  // 4 rows, then 2
  for (int i = 1; i <= 8; ++i) {
    auto a = begin_train_step(whole, batch(i), h);
    auto b = begin_train_step(parts, batch(i), h_parts);
    expect_near(a.step.loss, b.step.loss, 1e-4f, "loss");
    expect_near(a.step.metrics, b.step.metrics, 1e-4f, "metrics");
    expect_near(a.step.preds, b.step.preds, 0, "preds");
    for (size_t w = 0; w < a.weights.size(); ++w) {
      expect_near(a.weights[w], b.weights[w], 1e-5f, "gradient");
    }
    apply(whole, a, h);
    apply(parts, b, h_parts);
  }
  expect_same(whole, parts, 1e-4f);
}

TEST(TrainStep, RowsOfOtherProcessesDrawWhatTheWholeBatchDraws) {
  auto state = start();
  auto whole = train_gradients(state.model, state.carry, batch(1), mx::random::key(5), kRows);
  for (int begin : {0, 2, 4}) {
    auto part = train_gradients(state.model, rows_of(state.carry, begin, begin + 2),
                                rows_of(batch(1), begin, begin + 2),
                                {mx::random::key(5), begin, kRows}, kRows);
    auto expected = rows_of(whole.step.carry, begin, begin + 2);
    expect_near(part.step.carry.halted, expected.halted, 0, "halted");
  }
}

TEST(TrainStep, MuonMovesTheLayersMatricesAndAdamTheRest) {
  auto with = start(), without = start();
  auto h = hyper(), plain = hyper();
  h.muon = MuonOptions{0.02, 0.6, 0, 3};
  auto names = trainable_names(with.model);
  apply(with, begin_train_step(with, batch(1), h), h);
  apply(without, begin_train_step(without, batch(1), plain), plain);
  auto a = trainable(with.model), b = trainable(without.model);
  int matrices = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    bool layer = names[i].find(".layers.") != std::string::npos;
    matrices += layer;
    bool same = mx::array_equal(a[i], b[i]).item<bool>();
    EXPECT_EQ(same, !layer) << names[i];
    if (layer) {
      EXPECT_EQ(mx::max(mx::abs(with.v[i])).item<float>(), 0.0f) << names[i];
    }
  }
  EXPECT_EQ(matrices, 4);
}

TEST(TrainStep, FrozenWeightsStayAndTheEmbeddingMoves) {
  auto state = start();
  auto before = start();
  auto h = hyper();
  h.freeze_weights = true;
  for (int i = 1; i <= 3; ++i) apply(state, begin_train_step(state, batch(i), h), h);
  auto now = trainable(state.model), then = trainable(before.model);
  for (size_t i = 0; i < now.size(); ++i) expect_near(now[i], then[i], 0, "weight");
  auto& table = state.model.io().puzzle_emb->weights.value;
  EXPECT_GT(mx::max(mx::abs(table)).item<float>(), 0);
}

class GradientCheckpointing : public testing::TestWithParam<ModelKind> {};

TEST_P(GradientCheckpointing, GivesTheSameGradientsInLessMemory) {
  auto config = tiny();
  config.kind = GetParam();
  config.hidden_size = 64;
  config.puzzle_emb_ndim = 64;
  config.L_layers = config.H_layers = 2;
  config.L_cycles = config.kind == ModelKind::hrm ? 2 : 6;
  config.mlp_t = false;
  auto model = make_model(config, {9, 6, 4}, mx::random::key(1));
  auto again = model;
  again.io().context.recompute = true;
  auto carry = initial_carry(model, batch(0));
  mx::eval(state_arrays(make_train_state(model, batch(0), mx::random::key(2), false)));
  // The most of several: how much is alive at once depends on how far the device lags behind.
  auto peak = [&](const Model& m, std::optional<Gradients>& out) {
    size_t most = 0;
    for (int run = 0; run < 5; ++run) {
      out.reset();
      mx::clear_cache();
      mx::reset_peak_memory();
      size_t before = mx::get_active_memory();
      out = train_gradients(m, carry, batch(1), mx::random::key(5), kRows);
      Arrays all = out->weights;
      all.push_back(out->step.loss);
      if (out->puzzle_rows) all.push_back(*out->puzzle_rows);
      mx::eval(all);
      most = std::max(most, mx::get_peak_memory() - before);
    }
    return most;
  };
  std::optional<Gradients> plain, less;
  size_t most = peak(model, plain), least = peak(again, less);
  expect_near(plain->step.loss, less->step.loss, 1e-5f, "loss");
  for (size_t w = 0; w < plain->weights.size(); ++w) {
    float size = mx::max(mx::abs(plain->weights[w])).item<float>();
    expect_near(plain->weights[w], less->weights[w], 1e-5f * size + 1e-9f, "gradient");
    EXPECT_TRUE(size > 0 || w + 2 > plain->weights.size()) << "gradient " << w << " is zero";
  }
  expect_near(*plain->puzzle_rows, *less->puzzle_rows, 1e-7f, "rows of the puzzle embedding");
  RecordProperty("plain_bytes", std::to_string(most));
  RecordProperty("checkpointed_bytes", std::to_string(least));
  // hrm and the baseline apply each network once, so that there is little to keep.
  if (GetParam() == ModelKind::trm_singlez || GetParam() == ModelKind::trm_hier6) {
    EXPECT_LT(least, most);
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, GradientCheckpointing,
                         testing::Values(ModelKind::trm, ModelKind::trm_hier6,
                                         ModelKind::trm_singlez, ModelKind::hrm,
                                         ModelKind::transformers_baseline));

}  // namespace
}  // namespace trm
