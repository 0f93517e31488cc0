#include "trm/nn/init.h"

#include <cmath>

namespace trm {

mx::array KeySequence::next() {
  auto [carried, used] = mx::random::split(key_);
  key_ = carried;
  return used;
}

mx::array truncated_normal(const mx::Shape& shape, float std, const mx::array& key) {
  // A normal cut at +-2 has deviation sqrt(1 - 4 pdf(2) / (cdf(2) - cdf(-2))) < 1: undo that.
  const double bound = 2.0;
  const double mass = std::erf(bound / std::sqrt(2.0));
  const double pdf = std::exp(-0.5 * bound * bound) / std::sqrt(2.0 * M_PI);
  const double scale = std / std::sqrt(1.0 - 2.0 * bound * pdf / mass);
  auto u = mx::random::uniform(mx::array(static_cast<float>(-mass)),
                               mx::array(static_cast<float>(mass)), shape, mx::float32, key);
  auto limit = static_cast<float>(bound * scale);
  auto x = mx::erfinv(u) * mx::array(static_cast<float>(std::sqrt(2.0) * scale));
  return mx::clip(x, mx::array(-limit), mx::array(limit));
}

}  // namespace trm
