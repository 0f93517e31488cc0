// Names of weights.
#pragma once

#include <string>

namespace trm {

/// Without the `_orig_mod` components that torch.compile leaves: "_orig_mod.model.w" -> "model.w".
std::string strip_orig_mod(const std::string& name);

}  // namespace trm
