#include "trm/train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace trm {

double Schedule::operator()(int64_t step) const {
  if (step < warmup) {
    return base * static_cast<double>(step) / static_cast<double>(std::max<int64_t>(1, warmup));
  }
  double progress = static_cast<double>(step - warmup) /
                    static_cast<double>(std::max<int64_t>(1, total - warmup));
  double cosine = 0.5 * (1.0 + std::cos(std::numbers::pi * progress));
  return base * (min_ratio + std::max(0.0, (1.0 - min_ratio) * cosine));
}

}  // namespace trm
