// The ACT steps of a batch that is evaluated or solved.
#pragma once

#include <functional>

#include "trm/act.h"

namespace trm {

struct ActOptions {
  int steps = 16;                      // at most
  float noise = 0;                     // deviation of the noise on the latents before each step
  mx::array key = mx::random::key(0);  // of the noise
  bool residual = false;               // measure RowStep::residual
};

/// What one row showed after one ACT step.
struct RowStep {
  int row = 0, step = 0;           // row of the batch; step from 0
  const int32_t* preds = nullptr;  // (seq_len) tokens
  float q_halt = 0;                // logit: the model's belief that the answer is right
  float lm_loss = 0;               // mean over the asked cells
  float residual = 0;              // mean square of what the step changed in the answer latent
};

/// Runs the steps. `goes_on` sees each row that still runs, in ascending order, after each step;
/// a row for which it returns false leaves, and the others move together so that it costs nothing
/// more.
void run_act(const Model& model, const Examples& examples, const ActOptions& options,
             const std::function<bool(const RowStep&)>& goes_on);

}  // namespace trm
