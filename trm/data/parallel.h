// A loop over independent items on all cores.
#pragma once

#include <cstdint>
#include <functional>

namespace trm {

/// Calls body(i) for i in [0, count) from several threads, in no order. The first exception is
/// thrown again here after all threads have stopped.
void parallel_for(int64_t count, const std::function<void(int64_t)>& body);

}  // namespace trm
