#include "benchmarks/cuda_profile.h"

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include <cupti.h>
#include <cxxabi.h>
#include <dlfcn.h>
#include <fmt/format.h>

namespace profile {
namespace {

struct Sum {
  int calls = 0;
  double ms = 0;
};
std::mutex mutex;
std::map<std::string, Sum> sums;
uint64_t first = std::numeric_limits<uint64_t>::max(), last = 0;

template <class F>
F* function(const char* name) {
  static void* library = dlopen("libcupti.so.13", RTLD_NOW);
  void* found = library ? dlsym(library, name) : nullptr;
  if (!found) throw std::runtime_error("[profile] no libcupti.so.13 on the library path");
  return reinterpret_cast<F*>(found);
}

std::string readable(const char* mangled) {
  int status = 0;
  char* text = abi::__cxa_demangle(mangled, nullptr, nullptr, &status);
  std::string name = status == 0 ? text : mangled;
  std::free(text);
  return name.substr(0, 110);
}

void add(const std::string& name, uint64_t start, uint64_t end) {
  auto& sum = sums[name];
  ++sum.calls;
  sum.ms += static_cast<double>(end - start) / 1e6;
  first = std::min(first, start), last = std::max(last, end);
}

void CUPTIAPI give_buffer(uint8_t** buffer, size_t* size, size_t* records) {
  *size = 8u << 20;
  *buffer = static_cast<uint8_t*>(std::aligned_alloc(8, *size));
  *records = 0;
}

void CUPTIAPI take_buffer(CUcontext, uint32_t, uint8_t* buffer, size_t, size_t valid) {
  static auto* next = function<decltype(cuptiActivityGetNextRecord)>("cuptiActivityGetNextRecord");
  std::lock_guard lock(mutex);
  CUpti_Activity* record = nullptr;
  while (next(buffer, valid, &record) == CUPTI_SUCCESS) {
    if (record->kind == CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) {
      auto* kernel = reinterpret_cast<CUpti_ActivityKernel10*>(record);
      add(readable(kernel->name), kernel->start, kernel->end);
    } else if (record->kind == CUPTI_ACTIVITY_KIND_MEMCPY) {
      auto* copy = reinterpret_cast<CUpti_ActivityMemcpy6*>(record);
      add("(copy)", copy->start, copy->end);
    } else if (record->kind == CUPTI_ACTIVITY_KIND_MEMSET) {
      auto* set = reinterpret_cast<CUpti_ActivityMemset4*>(record);
      add("(memset)", set->start, set->end);
    }
  }
  std::free(buffer);
}

void flush() { function<decltype(cuptiActivityFlushAll)>("cuptiActivityFlushAll")(1); }

}  // namespace

void start() {
  function<decltype(cuptiActivityRegisterCallbacks)>("cuptiActivityRegisterCallbacks")(give_buffer,
                                                                                       take_buffer);
  auto* enable = function<decltype(cuptiActivityEnable)>("cuptiActivityEnable");
  for (auto kind : {CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL, CUPTI_ACTIVITY_KIND_MEMCPY,
                    CUPTI_ACTIVITY_KIND_MEMSET}) {
    if (enable(kind) != CUPTI_SUCCESS) throw std::runtime_error("[profile] CUPTI cannot record");
  }
}

void clear() {
  flush();
  std::lock_guard lock(mutex);
  sums.clear();
  first = std::numeric_limits<uint64_t>::max(), last = 0;
}

void print(int steps) {
  flush();
  std::lock_guard lock(mutex);
  std::vector<std::pair<std::string, Sum>> lines(sums.begin(), sums.end());
  std::sort(lines.begin(), lines.end(), [](auto& a, auto& b) { return a.second.ms > b.second.ms; });
  double all = 0, n = steps;
  for (auto& [name, sum] : lines) {
    all += sum.ms;
    fmt::print("{:9.3f} ms {:7.1f} calls {:9.4f} ms each  {}\n", sum.ms / n, sum.calls / n,
               sum.ms / sum.calls, name);
  }
  double span = last > first ? static_cast<double>(last - first) / 1e6 : 0;
  fmt::print("{:9.3f} ms in kernels and copies; {:.3f} ms a step from first to last\n", all / n,
             span / n);
}

}  // namespace profile
