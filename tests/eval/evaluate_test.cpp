#include "trm/eval/evaluate.h"

#include <gtest/gtest.h>

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

// Some rows believe their answer sooner, some later, some never.
Model model_of_mixed_beliefs() {
  auto model = model_that_halts(0);
  model.io().q_head.weight = mx::random::normal({2, 32}, mx::float32, 0, 1, mx::random::key(7));
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

Evaluation run(const Model& model, Halt halt) {
  int batches = 2;
  EvaluateOptions options;
  options.keep_preds = true;
  options.halt = halt;
  return evaluate(
      model,
      [&] { return batches-- > 0 ? std::optional(batch_of(batches ? 8 : 5, 8)) : std::nullopt; },
      options);
}

TEST(EarlyStop, SettledRowsRepeatAndTheOthersGoOnAsBefore) {
  auto model = model_that_halts(3);
  auto full = run(model, Halt::none), early = run(model, Halt::settled);
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

TEST(EarlyStop, OneCellInAHundredMayStillChange) {
  std::vector<int32_t> none, a(81, 3), b = a, c = a;
  b[80] = 4, c[0] = c[40] = 5;
  EXPECT_FALSE(settled(none, a)) << "the first step";
  EXPECT_TRUE(settled(a, a));
  EXPECT_TRUE(settled(a, b));
  EXPECT_FALSE(settled(a, c));
  EXPECT_FALSE(settled(std::vector<int32_t>{1, 2}, std::vector<int32_t>{1, 3}));
}

TEST(HaltQ, ChangesNothingWhereNoRowHalts) {
  auto model = model_that_halts(-5);
  auto full = run(model, Halt::none), early = run(model, Halt::q);
  EXPECT_EQ(early.preds, full.preds);
  // The padding of the last batch is dropped, and with it its share of the halting losses.
  for (auto m : {kCount, kAccuracy, kExactAccuracy, kQHaltAccuracy, kSteps}) {
    EXPECT_DOUBLE_EQ(early.sums[m], full.sums[m]) << kMetricNames[m];
  }
}

TEST(HaltQ, RowsLeaveAtTheFirstBeliefAndACompleteRunSaysWhatThatGives) {
  auto model = model_of_mixed_beliefs();
  auto full = run(model, Halt::none), halted = run(model, Halt::q);
  int64_t computed = 0, early = 0;
  for (int row = 0; row < 13; ++row) {
    int stop = 5;
    for (int step = 5; step >= 0; --step) stop = full.q_halt[step][row] > 0 ? step : stop;
    computed += stop + 1;
    early += stop < 5;
    for (int step = 0; step < 6; ++step) {
      auto at = std::min(step, stop);
      EXPECT_FLOAT_EQ(halted.q_halt[step][row], full.q_halt[at][row]) << row << " " << step;
      for (int c = 0; c < kCells; ++c) {
        EXPECT_EQ(halted.preds[step][row * kCells + c], full.preds[at][row * kCells + c]);
      }
    }
  }
  EXPECT_GT(early, 0) << "the model must halt somewhere for this test";
  EXPECT_LT(early, 13);
  EXPECT_EQ(halted.row_steps, computed);
  EXPECT_EQ(full.steps_to_q, computed);
  EXPECT_EQ(halted.steps_to_q, computed);
  EXPECT_EQ(full.exact_at_q, halted.exact_at_q);
  EXPECT_EQ(halted.exact_at_q, halted.steps.back().exact);
}

TEST(SavedAnswers, CountAsTheyDidWhenTheyWereComputed) {
  auto model = model_of_mixed_beliefs();
  for (auto halt : {Halt::none, Halt::q}) {
    auto full = run(model, Halt::none), direct = run(model, halt);
    std::vector<int32_t> preds;
    std::vector<float> q;
    for (auto& p : full.preds) preds.insert(preds.end(), p.begin(), p.end());
    for (auto& p : full.q_halt) q.insert(q.end(), p.begin(), p.end());
    SavedAnswers saved{6, kCells, 13, mx::array(preds.data(), {6, 13, kCells}, mx::int32),
                       mx::array(q.data(), {6, 13}, mx::float32)};
    int batches = 2;
    auto next = [&] {
      return batches-- > 0 ? std::optional(batch_of(batches ? 8 : 5, 8)) : std::nullopt;
    };
    EvaluateOptions options;
    options.halt = halt;
    auto again = evaluate(saved, next, options);
    EXPECT_EQ(again.row_steps, direct.row_steps);
    for (auto m : {kCount, kAccuracy, kExactAccuracy, kQHaltAccuracy, kSteps}) {
      EXPECT_DOUBLE_EQ(again.sums[m], direct.sums[m]) << kMetricNames[m];
    }
    EXPECT_EQ(again.steps.back().exact, direct.steps.back().exact);
    batches = 3;
    EXPECT_THROW(evaluate(saved, next), std::invalid_argument);
  }
}

}  // namespace
}  // namespace trm
