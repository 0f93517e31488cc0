// The real step_6510 on real puzzles against the reference, float32. The first rows only: all 32
// rows take minutes (docs/reproducing.md has the command).
#include <gtest/gtest.h>

#include "tests/golden.h"
#include "trm/data/sudoku_dataset.h"
#include "trm/eval/evaluate.h"
#include "trm/eval/load_model.h"
#include "trm/eval/row_batches.h"

namespace trm {
namespace {

TEST(CheckpointGolden, PredictsTheReferencesCellsAtEveryStep) {
  std::string file = "ckpt/step_6510_float32";
  SKIP_WITHOUT_GOLDEN(file);
  auto g = golden::load(file);
  constexpr int kRows = 2;
  auto shared = golden::shared_folder().parent_path();
  std::vector<PuzzleRow> puzzles;
  auto csv = shared / "data/sudoku-extreme-1k/test_hard_10k.csv";
  for (auto& row : read_sudoku_csv(csv, std::nullopt, kRows))
    puzzles.push_back(puzzle_row(row.pair));
  RowBatches batches(puzzles, kRows);
  auto loaded = load_model(shared / "checkpoints/step_6510", {{}, 81, "float32"});
  EvaluateOptions options;
  options.keep_preds = true;
  auto e = evaluate(
      loaded.model, [&] { return batches.next(); }, options);
  ASSERT_EQ(e.steps.size(), 16u);
  auto expected = mx::astype(g.at("preds"), mx::int32);  // (16, 32, 81)
  auto q_halt = g.at("q_halt_logits");                   // (16, 32)
  for (int s = 0; s < 16; ++s) {
    auto rows = mx::slice(expected, {s, 0, 0}, {s + 1, kRows, 81});
    auto ours = mx::array(e.preds[s].data(), {1, kRows, 81}, mx::int32);
    EXPECT_TRUE(mx::array_equal(ours, rows).item<bool>()) << "step " << s + 1;
    auto q = mx::array(e.q_halt[s].data(), {1, kRows}, mx::float32);
    EXPECT_EQ(golden::difference(q, mx::slice(q_halt, {s, 0}, {s + 1, kRows}), {1e-2, 1e-2}), "");
  }
}

}  // namespace
}  // namespace trm
