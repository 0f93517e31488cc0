// Adaptive computation time (ACT): the outer loop of deep supervision. Each step applies the model
// once to every row of a batch; rows that have halted are replaced by fresh examples.
#pragma once

#include <array>
#include <utility>
#include <vector>

#include "trm/data/batch.h"
#include "trm/models/model.h"

namespace trm {

/// A batch on the device.
struct Examples {
  mx::array inputs;              // (B, seq_len) int32
  mx::array labels;              // (B, seq_len) int32, kIgnoreLabel where nothing is asked
  mx::array puzzle_identifiers;  // (B) int32
};

Examples to_examples(const Batch& batch);

struct Carry {
  Latents z;         // (B, L, D) each
  mx::array steps;   // (B) int32, ACT steps taken
  mx::array halted;  // (B) bool
  Examples current;  // what each row is working on
};

/// Sums over the rows that halted in this step and ask for something (loss sums: over all rows).
/// Divided by `count` they are the reference's metrics; the losses are divided by the batch size.
enum Metric {
  kCount,
  kAccuracy,
  kExactAccuracy,
  kQHaltAccuracy,
  kSteps,
  kLmLoss,
  kQHaltLoss,
  kQContinueLoss,
};
constexpr std::array<const char*, 8> kMetricNames = {
    "count", "accuracy", "exact_accuracy", "q_halt_accuracy",
    "steps", "lm_loss",  "q_halt_loss",    "q_continue_loss"};

/// Every row halted, so that the first step starts them all on `fresh`.
Carry initial_carry(const Model& model, const Examples& fresh);

/// Starts halted rows on `fresh`: initial latents, zero steps, new data.
Carry replace_halted(const Model& model, const Carry& carry, const Examples& fresh);

/// The rows of the puzzle embedding a batch needs, (B, puzzle_emb_ndim) float32; none without one.
std::optional<mx::array> puzzle_rows(const Model& model, const mx::array& identifiers);

struct StepResult {
  Carry carry;  // latents detached
  Answer answer;
  mx::array preds;    // (B, seq_len) int32
  mx::array metrics;  // (8) float32, sums, in the order of Metric
  mx::array loss;     // float32: lm_loss + q_loss_weight (q_halt_loss + q_continue_loss), summed
};

/// One step of evaluation: no gradient, no exploration; rows halt at halt_max_steps (or earlier by
/// q where transformers_baseline asks for act_inference).
StepResult evaluate_step(const Model& model, const Carry& carry, const Examples& fresh);

/// The language-model loss of each row, (B) float32: the mean over its asked cells.
mx::array row_lm_loss(const Model& model, const Answer& answer, const mx::array& labels);

struct Gradients {
  StepResult step;
  Arrays weights;                        // of loss / global_batch_size, one a trainable(model)
  std::optional<mx::array> puzzle_rows;  // (B, puzzle_emb_ndim), rows of step.carry.current
};

/// What draws the exploration of halting. For a part of a batch it is drawn for all `of` rows (0:
/// the part is all), of which the part starts at `first_row`: parts then draw what the whole would.
struct Exploration {
  Exploration(mx::array key, int first_row = 0, int of = 0)
      : key(std::move(key)), first_row(first_row), of(of) {}
  mx::array key;
  int first_row, of;
};

/// One step of training: forward, loss, gradients.
Gradients train_gradients(const Model& model, const Carry& carry, const Examples& fresh,
                          const Exploration& exploration, int global_batch_size);

/// Rows [begin, end) of each array that has rows.
Carry rows_of(const Carry& carry, int begin, int end);
Examples rows_of(const Examples& examples, int begin, int end);
/// The rows at these positions, in this order.
Carry take_rows(const Carry& carry, const std::vector<int>& positions);
/// The reverse: the parts below each other.
Carry joined(const std::vector<Carry>& parts);

}  // namespace trm
