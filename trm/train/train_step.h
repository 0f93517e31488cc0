#pragma once

#include <functional>
#include <optional>

#include "trm/act.h"
#include "trm/nn/optimizers.h"

namespace trm {

/// What one optimizer step is made with (the reference's keys).
struct Hyperparameters {
  int global_batch_size = 768;
  double lr = 1e-4, lr_min_ratio = 1.0;
  int64_t lr_warmup_steps = 2000, total_steps = 0;
  AdamATan2Options adam;
  double puzzle_emb_lr = 1e-2, puzzle_emb_weight_decay = 0.1;
  std::optional<MuonOptions> muon;  // for the matrices of the layers; the rest is AdamATan2's
  bool freeze_weights = false;      // train the puzzle embedding only
  double ema_rate = 0.999;
  int micro_batch_size = 0;  // rows whose gradient is computed at once; 0: all
  int first_row = 0;         // of this process in the global batch
};

/// Everything training carries from step to step. A value: copies share their arrays.
struct TrainState {
  Model model;
  Arrays m, v;                // moments, one a trainable(model); Muon leaves v at 0
  std::optional<Arrays> ema;  // averages of trainable(model)
  Carry carry;
  mx::array key;
  int64_t step = 0;
};

TrainState make_train_state(Model model, const Examples& first_batch, const mx::array& key,
                            bool use_ema);

/// Draws the step's key, counts the step and computes its gradients; state.carry becomes the next
/// carry. `fresh` is offered to the rows that have halted. With micro_batch_size the parts are
/// computed one after the other and summed: the same result in less memory.
Gradients begin_train_step(TrainState& state, const Examples& fresh, const Hyperparameters& h);

/// Applies the gradients (summed over all processes first, where there are several): sign-SGD on
/// the puzzle embedding's rows of `identifiers`, AdamATan2 on the weights, then EMA.
void finish_train_step(TrainState& state, const Arrays& gradients,
                       const std::optional<mx::array>& row_gradients, const mx::array& identifiers,
                       const Hyperparameters& h);

/// The model that is evaluated and saved: EMA weights where there are some, live buffers.
Model averaged_model(const TrainState& state);

/// Every array of the state, to evaluate them together.
Arrays state_arrays(const TrainState& state);

}  // namespace trm
