// Threads of the CPU operations: a fixed team that splits the units of one loop into runs. Which
// thread does what may differ from call to call; no result depends on it.
#pragma once

#include <cstddef>
#include <functional>

namespace trm::ops {

/// Number of threads of the fused CPU operations, 1 or more; the machine's by default. Takes effect
/// at the next operation.
void set_threads(int n);
int threads();

/// Gives back the memory that a training step on the CPU leaves for the next one.
void release_memory();

}  // namespace trm::ops

namespace trm::ops::cpu {

/// Calls body(begin, end) on disjoint runs that cover 0..n, a few for each thread, and waits. The
/// caller works too. An exception of a body is thrown here. Not to be nested.
void parallel(long n, const std::function<void(long, long)>& body);

/// Asks for pages of 2 MB behind a large block: fewer page faults when it is first written, and
/// fewer entries of the translation cache.
void prefer_large_pages(void* p, size_t bytes);

/// Memory of the calling thread, kept from call to call. Blocks are 64-byte aligned, uninitialised,
/// and go back, last first, when the Scratch that took them ends.
class Scratch {
 public:
  Scratch();
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  void* bytes(size_t n);
  float* floats(size_t n) { return static_cast<float*>(bytes(n * sizeof(float))); }

 private:
  size_t block_, used_;
};

}  // namespace trm::ops::cpu
