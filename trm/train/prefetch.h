#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "trm/data/batches.h"

namespace trm {

/// Draws batches on another thread, ahead of the step that uses them.
class Prefetcher {
 public:
  struct Item {
    std::optional<Batch> batch;  // none: the end of an iteration
    int64_t iteration = 0;
    std::string cursor;  // the iterator's state() after this item
  };

  /// `data` must outlive it; `cursor`, where not empty, is where the iterator starts. Keeps at most
  /// `ahead` items.
  Prefetcher(const PuzzleDataset& data, const TrainOptions& options, const std::string& cursor,
             size_t ahead = 4);
  ~Prefetcher();
  Prefetcher(const Prefetcher&) = delete;
  Prefetcher& operator=(const Prefetcher&) = delete;

  /// The next item, in order. Throws what the drawing thread met.
  Item next();

 private:
  void draw();

  TrainIterator iterator_;
  size_t ahead_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Item> ready_;
  std::exception_ptr failure_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace trm
