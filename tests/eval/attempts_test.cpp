// Several attempts at a puzzle, with the weights that come with the program.
#include "trm/eval/attempts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "trm/data/sudoku.h"
#include "trm/eval/load_model.h"
#include "trm/eval/row_batches.h"

namespace trm {
namespace {

using testing::HasSubstr;

class AttemptsTest : public testing::Test {
 protected:
  AttemptsTest() {
    for (uint64_t i = 0; i < 3; ++i) {
      rows_.push_back(puzzle_row(generate_sudoku(9, 32, 5, i)));
    }
  }
  Evaluation run(const AttemptOptions& attempts, int steps) {
    RowBatches batches(rows_, 2);
    EvaluateOptions options;
    options.steps = steps;
    q_halt_.clear();
    options.on_answer = [&](const Batch&, int, const int32_t*, float q, bool) {
      q_halt_.push_back(q);
    };
    return evaluate(
        model_, [&] { return batches.next(); }, attempts, options);
  }
  static AttemptOptions options(Select select, int samples, int views, float noise) {
    AttemptOptions o;
    o.select = select;
    o.samples = samples;
    o.views = views;
    o.noise = noise;
    return o;
  }
  Model model_ =
      load_model(TRM_SOURCE_DIR "/models/sudoku-extreme.safetensors", {{}, 81, {}}).model;
  std::vector<PuzzleRow> rows_;
  std::vector<float> q_halt_;
};

TEST_F(AttemptsTest, AnswersToOtherFormsComeBackToThePuzzle) {
  auto attempts = options(Select::q, 1, 2, 0);
  attempts.from = 1;  // only the other form
  auto e = run(attempts, 3);
  EXPECT_EQ(e.steps[0].exact, 3);
  EXPECT_EQ(e.row_steps, 3 * 3);
}

TEST_F(AttemptsTest, EverySelectionTakesARightAnswer) {
  for (auto select : {Select::q, Select::residual, Select::vote, Select::first, Select::rules}) {
    auto e = run(options(select, 1, 2, 0), 3);
    EXPECT_EQ(e.steps[0].exact, 3) << static_cast<int>(select);
    // q, residual and vote need all steps of both attempts; the others stop as soon as they can.
    bool all = select == Select::q || select == Select::residual || select == Select::vote;
    if (all) {
      EXPECT_EQ(e.row_steps, 3 * 2 * 3);
    } else {
      EXPECT_LE(e.row_steps, 3 * 3);
    }
  }
}

TEST_F(AttemptsTest, NoiseIsDrawnFromTheSeed) {
  rows_.clear();  // hard ones: easy ones end in the same belief whatever the noise
  for (uint64_t i = 0; i < 6; ++i) rows_.push_back(puzzle_row(generate_sudoku(9, 0, 5, i)));
  auto attempts = options(Select::q, 2, 1, 0.5f);
  attempts.from = 1;
  run(attempts, 1);
  auto first = q_halt_;
  run(attempts, 1);
  EXPECT_EQ(q_halt_, first);
  attempts.seed = 1;
  run(attempts, 1);
  EXPECT_NE(q_halt_, first);
}

TEST_F(AttemptsTest, RefusesWhatMakesNoSense) {
  auto why = [&](const AttemptOptions& o) -> std::string {
    try {
      run(o, 1);
    } catch (const std::invalid_argument& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_THAT(why(options(Select::q, 2, 1, 0)), HasSubstr("without noise"));
  ArchConfig c;
  c.hidden_size = 16, c.num_heads = 2, c.puzzle_emb_ndim = 16;
  model_ = make_model(c, {9, 6, 1}, mx::random::key(1));  // a maze
  rows_ = {PuzzleRow{std::vector<int32_t>(9, 1), std::vector<int32_t>(9, 1), 0}};
  EXPECT_THAT(why(options(Select::q, 1, 2, 0)), HasSubstr("are for Sudoku"));
  EXPECT_THAT(why(options(Select::rules, 1, 1, 0)), HasSubstr("are for Sudoku"));
}

}  // namespace
}  // namespace trm
