// The order in which a data set's examples reach training and evaluation.
#pragma once

#include <optional>
#include <string>

#include "trm/data/numpy_random.h"
#include "trm/data/puzzle_dataset.h"

namespace trm {

struct TrainOptions {
  int64_t global_batch_size = 1;  // over all ranks; a multiple of num_replicas
  uint64_t seed = 0;
  int64_t epochs_per_iteration = 1;  // epochs drawn together: the reference's eval_interval
  int rank = 0, num_replicas = 1;
};

/// The reference's sampler. An iteration is `epochs_per_iteration` shuffles of all groups in a row;
/// of each group one random puzzle, of it as many random examples as the batch still takes; the
/// last incomplete batch is dropped. Groups and puzzles come in the order of NumPy's Philox(seed +
/// iteration), iterations counted from 1. (The reference takes the examples within a puzzle from
/// NumPy's unseeded global generator; here they come from the same seeded stream.) The order
/// depends on the data set, seed, batch size and epochs_per_iteration only, never on rank or
/// num_replicas.
class TrainIterator {
 public:
  /// The data set must outlive the iterator. Throws std::invalid_argument for impossible options.
  TrainIterator(const PuzzleDataset& data, const TrainOptions& options);

  /// The next batch of this rank (global_batch_size / num_replicas full rows); nullopt at the end
  /// of an iteration, after which the next call starts the following one.
  std::optional<Batch> next();
  /// Iterations begun, the present one included; 0 before the first call.
  int64_t iteration() const { return iteration_; }

  /// Where it stands, as JSON text of about 500 bytes: restore() on an iterator with the same data
  /// and options continues with exactly the batches that would have followed.
  std::string state() const;
  /// Throws std::runtime_error for a text that is no such state or belongs to other options.
  void restore(const std::string& state);

 private:
  void start_iteration();
  bool next_group(int64_t& group);  // false when the iteration has no more

  const PuzzleDataset& data_;
  TrainOptions options_;
  int64_t iteration_ = 0;
  bool running_ = false;
  int64_t epoch_ = 0, cursor_ = 0;  // epoch of this iteration, groups taken of it
  NumpyPhilox shuffler_,
      sampler_;  // one stream at two places: the reference shuffles all epochs first
  NumpyPhilox::State epoch_start_;  // shuffler_ before the present epoch's shuffle
  std::vector<int32_t> order_;      // groups of the present epoch
  std::vector<int64_t> chosen_;
};

/// All examples in order. The last batch is padded: inputs pad_id, labels kIgnoreLabel, the blank
/// identifier. With several ranks each gets its slice of every global batch.
class EvalIterator {
 public:
  /// `limit`: examples at most. Throws std::invalid_argument for impossible options.
  EvalIterator(const PuzzleDataset& data, int64_t global_batch_size, int rank = 0,
               int num_replicas = 1, std::optional<int64_t> limit = std::nullopt);
  std::optional<Batch> next();

 private:
  const PuzzleDataset& data_;
  int64_t global_batch_size_, end_, position_ = 0;
  int rank_, local_size_;
};

}  // namespace trm
