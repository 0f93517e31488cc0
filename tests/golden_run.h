// Our side of the golden data: the same steps and runs, under the same keys.
#pragma once

#include <map>

#include "tests/golden.h"
#include "trm/act.h"

namespace trm::golden {

using Results = std::map<std::string, mx::array>;

/// Where each ACT step of training starts: from the reference's carry after the step before, or
/// from our own.
enum class Carries { reference, own };

/// A batch of the golden data.
Examples examples(const Golden& g, const std::string& prefix);

/// Five ACT steps of training; the gradients of the first two.
Results train(const Golden& g, const Model& m, Carries carries);
/// All ACT steps of evaluation.
Results evaluate(const Golden& g, const Model& m);
/// A training run: loss.I and metrics.I of each step, the weights after those that the data have,
/// the averages.
Results training_run(const Golden& g, const Model& model);

}  // namespace trm::golden
