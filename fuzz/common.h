// What the fuzz targets share: small limits, so that one run is short, and reading everything that
// was found.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "trm/checkpoint/decode.h"
#include "trm/checkpoint/source_file.h"

namespace trm::fuzz {

inline SourceOptions options() {
  SourceOptions o;
  o.limits.max_tensor_bytes = 1 << 22;
  o.limits.max_output_bytes = 1 << 24;
  o.limits.max_pickle_objects = 20'000;
  o.limits.max_walk = 20'000;
  o.limits.max_tensors = 1000;
  o.limits.max_inflated_bytes = 1 << 20;
  o.limits.max_dense_bytes = 1 << 20;
  return o;
}

inline Source source_of(const uint8_t* data, size_t size) {
  std::vector<std::byte> bytes(size);
  if (size > 0) memcpy(bytes.data(), data, size);
  return memory_source(std::move(bytes));
}

/// Decodes every tensor twice, whole and in uneven pieces: both must agree, or fail alike.
inline void read_all(const SourceFile& file) {
  uint64_t budget = 1 << 22;
  for (const NamedTensor& t : file.weights.tensors) {
    DTypePolicy policy;
    policy.allow_overflow = true;
    uint64_t n = t.tensor.count(), item = size_of(target_dtype(t.tensor, policy));
    if (n * item > budget) continue;
    budget -= n * item;
    std::vector<std::byte> whole(n * item), pieces(n * item);
    decode_elements(t.tensor, policy, t.name, 0, n, whole.data());
    for (uint64_t at = 0, step = 1; at < n; at += step, step = step * 2 + 1)
      decode_elements(t.tensor, policy, t.name, at, std::min(step, n - at),
                      pieces.data() + at * item);
    if (whole != pieces) abort();
  }
}

/// Runs `f`; errors the library throws are its way to refuse a file.
template <class F>
int refusals_are_fine(F&& f) {
  try {
    f();
  } catch (const std::runtime_error&) {
  }
  return 0;
}

}  // namespace trm::fuzz
