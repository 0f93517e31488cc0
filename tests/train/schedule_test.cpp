#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "trm/nn/optimizers.h"

namespace trm {
namespace {

// Values of the reference's formula, worked out by hand: warm-up 4, cosine from 1 to 0.2 over 8
// steps.
TEST(Schedule, WarmsUpThenFollowsTheCosine) {
  auto schedule = [](int64_t step) { return learning_rate(2.0, step, 4, 12, 0.2); };
  EXPECT_DOUBLE_EQ(schedule(0), 0.0);
  EXPECT_DOUBLE_EQ(schedule(1), 0.5);
  EXPECT_DOUBLE_EQ(schedule(4), 2.0);
  EXPECT_DOUBLE_EQ(schedule(8), 2.0 * 0.6);
  EXPECT_DOUBLE_EQ(schedule(12), 2.0 * 0.2);
}

TEST(Schedule, IsConstantWithoutDecay) {
  for (int64_t step : {2000, 6510, 65104}) {
    EXPECT_DOUBLE_EQ(learning_rate(1e-4, step, 2000, 65104, 1.0), 1e-4);
  }
}

TEST(Schedule, EqualsTheReference) {
  std::filesystem::path file = TRM_SOURCE_DIR "/../shared/golden/optim/schedule.json";
  if (!std::filesystem::exists(file)) GTEST_SKIP() << "needs the golden data in ../shared";
  auto golden = nlohmann::json::parse(std::ifstream(file));
  for (auto& c : golden["cases"]) {
    for (auto& [step, value] : c["values"].get<std::vector<std::pair<int64_t, double>>>()) {
      EXPECT_NEAR(learning_rate(c["base_lr"], step, c["warmup"], c["total"], c["min_ratio"]), value,
                  1e-15 + 1e-14 * value)
          << c["total"] << " step " << step;
    }
  }
}

}  // namespace
}  // namespace trm
