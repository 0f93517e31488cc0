// What the builders of Sudoku and maze data sets share: every example is a puzzle of its own, a
// group holds the forms of one puzzle, and there is one puzzle identifier, the blank one.
#pragma once

#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "trm/data/dataset_writer.h"
#include "trm/data/numpy_random.h"
#include "trm/io/text.h"

namespace trm {

struct GridSplit {
  int64_t groups = 0, forms = 1;  // forms: examples of a group
  bool as_int64 = false;
  /// Appends the tokens of all forms of a group; called once for each in order.
  std::function<void(int64_t group, std::vector<uint8_t>& inputs, std::vector<uint8_t>& labels)>
      append;
};

/// Writes the folder, the training split first. Throws std::runtime_error where the examples are
/// too many for the reference's int32 indices, and whatever StagedFolder throws.
void write_grid_dataset(const std::filesystem::path& output, int cells, int64_t vocab_size,
                        const GridSplit& train, const GridSplit& test, const Progress& progress);

/// `size` of `pairs` at random as np.random.choice(…, replace=False) takes them; all of them, with
/// nothing drawn, where that is no fewer. `kind` names errors.
template <class Pair>
void subsample(std::vector<Pair>& pairs, std::optional<int64_t> size, NumpyMt19937& rng,
               const char* kind) {
  if (!size || *size >= static_cast<int64_t>(pairs.size())) return;
  if (*size < 1) throw std::invalid_argument(fmt::format("[{}] the subsample is empty", kind));
  std::vector<Pair> chosen;
  for (int32_t i : rng.choice(pairs.size(), static_cast<size_t>(*size))) {
    chosen.push_back(pairs[static_cast<size_t>(i)]);
  }
  pairs = std::move(chosen);
}

/// Throws std::runtime_error unless both splits have puzzles and side_of() of all is the same.
template <class Pair, class Side>
void check_splits(const std::vector<Pair>& train, const std::vector<Pair>& test,
                  const Side& side_of, const char* kind) {
  for (auto* split : {&train, &test}) {
    if (split->empty()) {
      fail("[{}] the {} split has no puzzles", kind, split == &test ? "test" : "training");
    }
    for (auto& pair : *split) {
      if (side_of(pair) != side_of(train[0])) fail("[{}] puzzles of several sizes", kind);
    }
  }
}

}  // namespace trm
