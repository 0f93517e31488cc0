// One thread that owns the models: requests join a model's batch between two steps and leave it
// when they are done or their client has gone.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "trm/serve/live_batch.h"

namespace trm::serve {

/// What a ticket's owner reads: a step, or the end.
struct Update {
  int step = 0;  // counted from 1
  RowStep row;
  double milliseconds = 0;  // the step took, for the whole batch
  int batch = 0;            // rows in it
  bool last = false;
  std::string error;  // the model failed: no step, and the last
};

/// A request on its way through the batcher. Updates wait here until they are read.
class Ticket {
 public:
  Ticket(Question question, size_t engine) : question_(std::move(question)), engine_(engine) {}
  /// The next update; nullopt when none came in time.
  std::optional<Update> next(std::chrono::milliseconds wait);
  /// Gives up: the row leaves the batch at the next step, or never joins it.
  void cancel();

 private:
  friend class Batcher;
  bool cancelled();
  void put(Update update);

  const Question question_;
  const size_t engine_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Update> updates_;
  bool cancelled_ = false;
  int steps_ = 0;                    // taken; the batcher's
  std::vector<int32_t> last_preds_;  // the batcher's, for early_stop
};

struct BatcherStats {
  int running = 0, waiting = 0;
  int64_t finished = 0, cancelled = 0, steps = 0, row_steps = 0;
};

class Batcher {
 public:
  /// At most `max_rows` are worked on together by each engine and `max_waiting` wait in all.
  /// Engines with rows take turns, a step each.
  Batcher(std::vector<std::unique_ptr<Engine>> engines, int max_rows, int max_waiting);
  ~Batcher();
  Batcher(const Batcher&) = delete;
  Batcher& operator=(const Batcher&) = delete;

  /// nullptr when the queue is full or the batcher stops.
  std::shared_ptr<Ticket> submit(Question question, size_t engine = 0);
  BatcherStats stats();
  /// Ends every request with an error; no more are taken.
  void stop();

 private:
  using Tickets = std::vector<std::shared_ptr<Ticket>>;
  void run();
  void admit(size_t engine);
  void step(size_t engine);
  void fail_all(size_t engine, const std::string& why);

  std::vector<std::unique_ptr<Engine>> engines_;  // the thread's
  std::vector<Tickets> running_;                  // the thread's, by engine
  const int max_rows_, max_waiting_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Ticket>> waiting_;
  BatcherStats stats_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace trm::serve
