// Finds the tensors in what a pickle holds, and chooses the model's weights among them.
#pragma once

#include <string>
#include <vector>

#include "trm/checkpoint/torch_objects.h"

namespace trm {

/// An entry that is no tensor, with its value or class as text.
struct OtherEntry {
  std::string path, what;
};

struct Weights {
  std::vector<NamedTensor> tensors;  // in file order
  std::vector<OtherEntry> others;    // at most 1000 of them
  uint64_t others_count = 0;
  std::string chosen;  // path of the part that was taken, "" for all
  std::vector<std::pair<std::string, uint64_t>>
      left;  // other top-level entries with tensors: how many
  std::vector<std::string> notes;
};

/// The rule: with `key` (a dotted path; "." is the whole file) the tensors below it. Else, when the
/// file is a dict with a well-known entry for weights (state_dict, model_state_dict, model, module,
/// ...) and every other entry that holds tensors is one such or a training companion (optimizer,
/// EMA, ...), that entry, and so on inside it. Else all of it. Names are the dotted paths from
/// there.
Weights find_weights(const TorchObjects& objects, const std::string& key);

}  // namespace trm
