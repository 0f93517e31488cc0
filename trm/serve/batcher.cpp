#include "trm/serve/batcher.h"

#include <algorithm>
#include <exception>

#include "trm/eval/evaluate.h"

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

Batcher::Batcher(std::vector<std::unique_ptr<Engine>> engines, int max_rows, int max_waiting)
    : engines_(std::move(engines)),
      running_(engines_.size()),
      max_rows_(max_rows),
      max_waiting_(max_waiting) {
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

std::shared_ptr<Ticket> Batcher::submit(Question question, size_t engine) {
  auto ticket = std::make_shared<Ticket>(std::move(question), engine);
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

void Batcher::fail_all(size_t engine, const std::string& why) {
  engines_[engine]->keep({});
  for (auto& t : running_[engine]) t->put(failure(why));
  running_[engine].clear();
}

void Batcher::admit(size_t engine) {
  auto& running = running_[engine];
  size_t before = running.size();
  {
    std::lock_guard lock(mutex_);
    std::erase_if(waiting_, [&](auto& ticket) {
      if (ticket->cancelled()) {
        ++stats_.cancelled;
        return true;
      }
      bool joins = ticket->engine_ == engine && static_cast<int>(running.size()) < max_rows_;
      if (joins) running.push_back(ticket);
      return joins;
    });
    stats_.running += static_cast<int>(running.size() - before);
  }
  if (running.size() == before) return;
  std::vector<Question> questions;
  for (size_t i = before; i < running.size(); ++i) questions.push_back(running[i]->question_);
  try {
    engines_[engine]->join(questions);
  } catch (const std::exception& e) {
    int failed = static_cast<int>(running.size());
    fail_all(engine, e.what());
    std::lock_guard lock(mutex_);
    stats_.running -= failed;
  }
}

void Batcher::step(size_t engine) {
  auto start = std::chrono::steady_clock::now();
  auto& running = running_[engine];
  Tickets still;
  std::vector<int> kept;
  int64_t finished = 0, cancelled = 0;
  int batch = static_cast<int>(running.size());
  try {
    auto rows = engines_[engine]->step();
    std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
    for (int i = 0; i < batch; ++i) {
      auto& t = *running[i];
      ++t.steps_;
      bool stands = t.question_.early_stop && settled(t.last_preds_, rows[i].preds);
      bool last = stands || t.steps_ >= t.question_.steps;
      if (t.question_.early_stop) t.last_preds_ = rows[i].preds;
      bool gone = t.cancelled();
      t.put({t.steps_, std::move(rows[i]), took.count(), batch, last, ""});
      cancelled += gone;
      finished += last && !gone;
      if (!last && !gone) still.push_back(running[i]), kept.push_back(i);
    }
    engines_[engine]->keep(kept);
    running = std::move(still);
  } catch (const std::exception& e) {
    fail_all(engine, e.what());
  }
  std::lock_guard lock(mutex_);
  stats_.steps += 1;
  stats_.row_steps += batch;
  stats_.finished += finished;
  stats_.cancelled += cancelled;
  stats_.running -= batch - static_cast<int>(running.size());
}

void Batcher::run() {
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      bool idle = std::all_of(running_.begin(), running_.end(), [](auto& r) { return r.empty(); });
      if (idle) changed_.wait(lock, [&] { return stopping_ || !waiting_.empty(); });
      if (stopping_) break;
    }
    for (size_t engine = 0; engine < engines_.size(); ++engine) {
      admit(engine);
      if (!running_[engine].empty()) step(engine);
    }
  }
  std::lock_guard lock(mutex_);
  running_.emplace_back(waiting_.begin(), waiting_.end());
  waiting_.clear();
  for (auto& rows : running_) {
    for (auto& t : rows) t->put(failure("the server is stopping"));
  }
}

}  // namespace trm::serve
