#include <gtest/gtest.h>

#include "trm/eval/evaluate.h"

namespace trm {
namespace {

// So few that an untrained model often gives one answer twice.
constexpr int kCells = 2, kVocab = 3;

Model model_that_halts(float q_bias) {
  ArchConfig c;
  c.hidden_size = 32, c.num_heads = 2, c.puzzle_emb_ndim = 0, c.puzzle_emb_len = 0;
  c.H_cycles = 1, c.L_cycles = 1, c.L_layers = 1, c.mlp_t = true, c.halt_max_steps = 6;
  c.pos_encodings = PosEncoding::none, c.forward_dtype = "float32";
  auto model = make_model(c, {kCells, kVocab, 1}, mx::random::key(3));
  model.io().q_head.bias = mx::full({2}, q_bias);
  return model;
}

Batch batch_of(int rows, int size) {
  Batch b;
  b.size = size, b.rows = rows, b.seq_len = kCells;
  for (int i = 0; i < size * kCells; ++i) {
    b.inputs.push_back(i * 7 % 11 % kVocab);
    b.labels.push_back(i < rows * kCells ? i * 3 % kVocab : kIgnoreLabel);
  }
  b.puzzle_identifiers.assign(size, 0);
  return b;
}

Evaluation run(const Model& model, bool early) {
  int batches = 2;
  EvaluateOptions options;
  options.keep_preds = true;
  options.early_stop = early;
  return evaluate(
      model,
      [&] { return batches-- > 0 ? std::optional(batch_of(batches ? 8 : 5, 8)) : std::nullopt; },
      options);
}

TEST(EarlyStop, SettledRowsRepeatAndTheOthersGoOnAsBefore) {
  auto model = model_that_halts(3);
  auto full = run(model, false), early = run(model, true);
  EXPECT_EQ(full.row_steps, 13 * 6);
  EXPECT_LT(early.row_steps, full.row_steps);
  ASSERT_EQ(early.rows, 13);
  int64_t computed = 0;
  for (int row = 0; row < 13; ++row) {
    auto preds = [&](const Evaluation& e, int step) {
      auto at = e.preds[step].begin() + row * kCells;
      return std::vector<int32_t>(at, at + kCells);
    };
    int stop = 5;
    for (int step = 5; step >= 1; --step) {
      if (preds(full, step) == preds(full, step - 1)) stop = step;
    }
    computed += stop + 1;
    for (int step = 0; step < 6; ++step) {
      EXPECT_EQ(preds(early, step), preds(full, std::min(step, stop))) << row << " " << step;
    }
  }
  EXPECT_EQ(early.row_steps, computed);
  EXPECT_EQ(early.sums[kCount], 13);
  EXPECT_FLOAT_EQ(early.sums[kSteps], static_cast<float>(computed));
}

TEST(EarlyStop, ChangesNothingWhereNoRowHalts) {
  auto model = model_that_halts(-5);
  auto full = run(model, false), early = run(model, true);
  EXPECT_EQ(early.preds, full.preds);
  // The padding of the last batch is dropped, and with it its share of the halting losses.
  for (auto m : {kCount, kAccuracy, kExactAccuracy, kQHaltAccuracy, kSteps}) {
    EXPECT_DOUBLE_EQ(early.sums[m], full.sums[m]) << kMetricNames[m];
  }
}

}  // namespace
}  // namespace trm
