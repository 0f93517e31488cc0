// Checks of options' values whose messages a reader can take in (CLI::PositiveNumber's name a bound
// of 300 digits).
#pragma once

#include <cstdint>

#include <CLI/CLI.hpp>

namespace trm::cli {

constexpr int64_t kMany = 1'000'000'000'000;
inline const CLI::Range kPositive{int64_t{1}, kMany};
inline const CLI::Range kNotNegative{int64_t{0}, kMany};

}  // namespace trm::cli
