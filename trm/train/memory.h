// How much memory a run needs, before its first step.
#pragma once

#include <cstdint>

#include "trm/models/model.h"

namespace trm {

/// Bytes that one training step of `rows` rows holds besides the training state: what the gradient
/// needs of each layer, gradients, and the program itself. An estimate, fitted to measured peaks
/// (docs/training.md); too high rather than too low.
int64_t step_bytes(const Model& model, int64_t rows);

/// Memory of the device that trains, within the limits of its control group; 0 if unknown.
int64_t memory_of_device();

}  // namespace trm
