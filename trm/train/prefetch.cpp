#include "trm/train/prefetch.h"

namespace trm {

Prefetcher::Prefetcher(const PuzzleDataset& data, const TrainOptions& options,
                       const std::string& cursor, size_t ahead)
    : iterator_(data, options), ahead_(ahead) {
  if (!cursor.empty()) iterator_.restore(cursor);
  thread_ = std::thread([this] { draw(); });
}

Prefetcher::~Prefetcher() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Prefetcher::draw() {
  try {
    while (true) {
      Item item;
      item.batch = iterator_.next();
      item.iteration = iterator_.iteration();
      item.cursor = iterator_.state();
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return stop_ || ready_.size() < ahead_; });
      if (stop_) return;
      ready_.push_back(std::move(item));
      changed_.notify_all();
    }
  } catch (...) {
    std::lock_guard lock(mutex_);
    failure_ = std::current_exception();
    changed_.notify_all();
  }
}

Prefetcher::Item Prefetcher::next() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !ready_.empty() || failure_; });
  if (ready_.empty()) std::rethrow_exception(failure_);
  Item item = std::move(ready_.front());
  ready_.pop_front();
  changed_.notify_all();
  return item;
}

}  // namespace trm
