// An engine whose answer is the question itself, so that an answer for the wrong client shows, and
// whose steps a test may hold up.
#pragma once

#include <atomic>
#include <chrono>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "trm/serve/live_batch.h"

namespace trm::serve {

struct Controls {
  std::atomic<bool> held{false};  // steps wait
  std::atomic<bool> fails{false};
  std::atomic<int> milliseconds{0};  // a step takes
  std::atomic<int> rows{0}, most_rows{0}, steps{0};
};

class FakeEngine : public Engine {
 public:
  explicit FakeEngine(std::shared_ptr<Controls> controls) : c_(std::move(controls)) {}
  void join(const std::vector<Question>& questions) override {
    for (auto& q : questions) rows_.push_back(q.tokens);
  }
  std::vector<RowStep> step() override {
    c_->rows = static_cast<int>(rows_.size());
    c_->most_rows = std::max(c_->most_rows.load(), c_->rows.load());
    ++c_->steps;
    std::this_thread::sleep_for(std::chrono::milliseconds(c_->milliseconds));
    while (c_->held) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    if (c_->fails) throw std::runtime_error("no memory");
    std::vector<RowStep> out;
    for (auto& r : rows_) out.push_back({r, std::vector<float>(r.size(), 0.5f), 1.0f});
    return out;
  }
  void keep(const std::vector<int>& rows) override {
    std::vector<std::vector<int32_t>> kept;
    for (int i : rows) kept.push_back(rows_.at(i));
    rows_ = std::move(kept);
    c_->rows = static_cast<int>(rows_.size());
  }

 private:
  std::shared_ptr<Controls> c_;
  std::vector<std::vector<int32_t>> rows_;
};

template <class... Each>
std::vector<std::unique_ptr<Engine>> engines(std::unique_ptr<Each>... each) {
  std::vector<std::unique_ptr<Engine>> list;
  (list.push_back(std::move(each)), ...);
  return list;
}

/// Waits until `is_so`, for at most 20 s.
template <class F>
bool eventually(F&& is_so) {
  for (int i = 0; i < 20000; ++i) {
    if (is_so()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

}  // namespace trm::serve
