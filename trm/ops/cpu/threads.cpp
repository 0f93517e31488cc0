#include "trm/ops/cpu/threads.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <sched.h>
#include <sys/mman.h>
#endif

#include "trm/ops/cpu/kernels.h"

namespace trm::ops {
namespace {

int machine_threads() {
#if defined(__linux__)
  cpu_set_t set;  // what taskset and containers leave to this process
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
  return std::max(1u, std::thread::hardware_concurrency());
}

std::atomic<int> wanted{0};

}  // namespace

void set_threads(int n) { wanted = std::max(1, n); }

int threads() {
  int n = wanted;
  if (n == 0) {
    static const int machine = machine_threads();
    n = machine;
  }
  return n;
}

}  // namespace trm::ops

namespace trm::ops::cpu {

void prefer_large_pages(void* p, size_t bytes) {
#if defined(__linux__)
  constexpr size_t large = 2 << 20;
  auto first = (reinterpret_cast<uintptr_t>(p) + large - 1) / large * large;
  auto last = (reinterpret_cast<uintptr_t>(p) + bytes) / large * large;
  if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
#endif
}

namespace {

// A thread's work in a loop is over.
void release_kernels() {
  if (auto* release = kernels(true).release) release();
}

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

class Team {
 public:
  ~Team() { resize(1); }

  void run(long n, const std::function<void(long, long)>& body) {
    std::lock_guard<std::mutex> one_at_a_time(use_);
    int size = static_cast<int>(std::min<long>(threads(), n));
    if (size <= 1) {
      body(0, n);
      release_kernels();
      return;
    }
    resize(std::max(size, static_cast<int>(workers_.size()) + 1));
    n_ = n, size_ = size, body_ = &body, error_ = nullptr;
    own_ = n * 3 / (4 * size);
    next_.store(own_ * size, std::memory_order_relaxed);
    left_.store(static_cast<int>(workers_.size()), std::memory_order_relaxed);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      round_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    part(0);
    for (int spin = 0; left_.load(std::memory_order_acquire) > 0; ++spin) {
      if (spin < kSpins) {
        pause();
      } else {
        std::unique_lock<std::mutex> lock(mutex_);
        done_.wait(lock, [&] { return left_.load(std::memory_order_acquire) == 0; });
      }
    }
    if (error_) std::rethrow_exception(error_);
  }

 private:
  // About 20 microseconds: longer than the gap between two operations, shorter than a time slice.
  static constexpr int kSpins = 1000;

  void part(int index) {
    if (index >= size_) return;
    try {
      if (own_ > 0) (*body_)(index * own_, (index + 1) * own_);
      const long some = std::max(1L, (n_ - own_ * size_) / (2 * size_));
      for (long begin; (begin = next_.fetch_add(some, std::memory_order_relaxed)) < n_;) {
        (*body_)(begin, std::min(n_, begin + some));
      }
    } catch (...) {
      std::lock_guard<std::mutex> lock(mutex_);
      if (!error_) error_ = std::current_exception();
    }
    release_kernels();
  }

  void work(int index, unsigned seen) {
    for (;;) {
      for (int spin = 0; spin < kSpins && round_.load(std::memory_order_acquire) == seen; ++spin) {
        pause();
      }
      if (round_.load(std::memory_order_acquire) == seen) {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [&] { return round_.load(std::memory_order_acquire) != seen; });
      }
      seen = round_.load(std::memory_order_acquire);
      if (stop_) return;
      part(index);
      if (left_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
        std::lock_guard<std::mutex> lock(mutex_);
        done_.notify_one();
      }
    }
  }

  void resize(int size) {
    if (size == static_cast<int>(workers_.size()) + 1) return;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stop_ = true;
      round_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    for (auto& worker : workers_) worker.join();
    workers_.clear();
    stop_ = false;
    unsigned seen = round_;
    for (int i = 1; i < size; ++i) workers_.emplace_back([this, i, seen] { work(i, seen); });
  }

  std::mutex use_, mutex_;
  std::condition_variable wake_, done_;
  std::atomic<unsigned> round_{0};
  std::atomic<int> left_{0};
  std::atomic<bool> stop_{false};
  std::vector<std::thread> workers_;
  // Three quarters of 0..n in equal runs, the rest in small ones for whoever is there first:
  // another program may slow one of the cores down.
  long n_ = 0, own_ = 0;
  std::atomic<long> next_{0};
  int size_ = 1;
  const std::function<void(long, long)>* body_ = nullptr;
  std::exception_ptr error_;
};

struct Free {
  void operator()(void* p) const { std::free(p); }
};

// Blocks are never moved while in use, so growing means one more block, and the blocks are merged
// into one when nothing is taken.
struct Arena {
  struct Block {
    std::unique_ptr<char, Free> memory;
    size_t size;
  };
  std::vector<Block> blocks;
  size_t block = 0, used = 0;

  static Block make(size_t size) {
    void* p = std::aligned_alloc(64, size);
    if (!p) throw std::bad_alloc();
    prefer_large_pages(p, size);
    return {std::unique_ptr<char, Free>(static_cast<char*>(p)), size};
  }

  void* take(size_t n) {
    n = (n + 63) / 64 * 64;
    while (block < blocks.size() && used + n > blocks[block].size) ++block, used = 0;
    if (block == blocks.size()) blocks.push_back(make(std::max<size_t>(n, 1 << 20)));
    void* p = blocks[block].memory.get() + used;
    used += n;
    return p;
  }

  void rewind(size_t to_block, size_t to_used) {
    block = to_block, used = to_used;
    if (block == 0 && used == 0 && blocks.size() > 1) {
      size_t total = 0;
      for (auto& b : blocks) total += b.size;
      blocks.clear();
      blocks.push_back(make(total));
    }
  }
};

Arena& arena() {
  thread_local Arena value;
  return value;
}

}  // namespace

void parallel(long n, const std::function<void(long, long)>& body) {
  // Never destroyed: at exit MLX's stream thread may still be inside an operation.
  static Team* team = new Team;
  if (n > 0) team->run(n, body);
}

Scratch::Scratch() : block_(arena().block), used_(arena().used) {}
Scratch::~Scratch() { arena().rewind(block_, used_); }
void* Scratch::bytes(size_t n) { return arena().take(n); }

}  // namespace trm::ops::cpu
