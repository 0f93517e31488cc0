#include "trm/serve/batcher.h"

#include <algorithm>
#include <exception>

namespace trm::serve {

namespace {

Update failure(const std::string& why) {
  Update u;
  u.last = true;
  u.error = why;
  return u;
}

}  // namespace

std::optional<Update> Ticket::next(std::chrono::milliseconds wait) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, wait, [&] { return !updates_.empty(); });
  if (updates_.empty()) return std::nullopt;
  auto update = std::move(updates_.front());
  updates_.pop_front();
  return update;
}

void Ticket::cancel() {
  std::lock_guard lock(mutex_);
  cancelled_ = true;
  updates_.clear();
}

bool Ticket::cancelled() {
  std::lock_guard lock(mutex_);
  return cancelled_;
}

void Ticket::put(Update update) {
  {
    std::lock_guard lock(mutex_);
    if (cancelled_) return;
    updates_.push_back(std::move(update));
  }
  changed_.notify_all();
}

Batcher::Batcher(std::unique_ptr<Engine> engine, int max_rows, int max_waiting)
    : engine_(std::move(engine)), max_rows_(max_rows), max_waiting_(max_waiting) {
  thread_ = std::thread([this] { run(); });
}

Batcher::~Batcher() {
  stop();
  thread_.join();
}

void Batcher::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
}

std::shared_ptr<Ticket> Batcher::submit(Question question) {
  auto ticket = std::make_shared<Ticket>(std::move(question));
  {
    std::lock_guard lock(mutex_);
    // Those who left while they waited take no place from others.
    std::erase_if(waiting_, [&](auto& t) {
      bool left = t->cancelled();
      stats_.cancelled += left;
      return left;
    });
    if (stopping_ || static_cast<int>(waiting_.size()) >= max_waiting_) return nullptr;
    waiting_.push_back(ticket);
  }
  changed_.notify_all();
  return ticket;
}

BatcherStats Batcher::stats() {
  std::lock_guard lock(mutex_);
  auto now = stats_;
  now.waiting = static_cast<int>(
      std::count_if(waiting_.begin(), waiting_.end(), [](auto& t) { return !t->cancelled(); }));
  return now;
}

Batcher::Tickets Batcher::admit(Tickets running) {
  Tickets joining;
  {
    std::lock_guard lock(mutex_);
    while (!waiting_.empty() && static_cast<int>(running.size() + joining.size()) < max_rows_) {
      auto ticket = std::move(waiting_.front());
      waiting_.pop_front();
      if (ticket->cancelled()) {
        ++stats_.cancelled;
      } else {
        joining.push_back(std::move(ticket));
      }
    }
    stats_.running = static_cast<int>(running.size() + joining.size());
  }
  if (joining.empty()) return running;
  running.insert(running.end(), joining.begin(), joining.end());
  std::vector<Question> questions;
  for (auto& t : joining) questions.push_back(t->question_);
  try {
    engine_->join(questions);
  } catch (const std::exception& e) {
    engine_->keep({});
    for (auto& t : running) t->put(failure(e.what()));
    running.clear();
  }
  return running;
}

Batcher::Tickets Batcher::step(Tickets running) {
  auto start = std::chrono::steady_clock::now();
  Tickets still;
  std::vector<int> kept;
  int64_t finished = 0, cancelled = 0;
  int batch = static_cast<int>(running.size());
  try {
    auto rows = engine_->step();
    std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
    for (int i = 0; i < batch; ++i) {
      auto& t = *running[i];
      ++t.steps_;
      bool settled = t.question_.early_stop && rows[i].q_halt > 0 && rows[i].preds == t.last_preds_;
      bool last = settled || t.steps_ >= t.question_.steps;
      if (t.question_.early_stop) t.last_preds_ = rows[i].preds;
      bool gone = t.cancelled();
      t.put({t.steps_, std::move(rows[i]), took.count(), batch, last, ""});
      cancelled += gone;
      finished += last && !gone;
      if (!last && !gone) still.push_back(running[i]), kept.push_back(i);
    }
    engine_->keep(kept);
  } catch (const std::exception& e) {
    engine_->keep({});
    for (auto& t : running) t->put(failure(e.what()));
    still.clear();
  }
  std::lock_guard lock(mutex_);
  stats_.steps += 1;
  stats_.row_steps += batch;
  stats_.finished += finished;
  stats_.cancelled += cancelled;
  stats_.running = static_cast<int>(still.size());
  return still;
}

void Batcher::run() {
  Tickets running;
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      if (running.empty()) changed_.wait(lock, [&] { return stopping_ || !waiting_.empty(); });
      if (stopping_) {
        running.insert(running.end(), waiting_.begin(), waiting_.end());
        waiting_.clear();
        break;
      }
    }
    running = admit(std::move(running));
    if (!running.empty()) running = step(std::move(running));
  }
  for (auto& t : running) t->put(failure("the server is stopping"));
}

}  // namespace trm::serve
