// 20 training steps against the reference's: loss and metrics of each, weights after 1, 5 and 20,
// EMA.
#include <gtest/gtest.h>

#include "tests/golden_run.h"

namespace trm {
namespace {

using golden::difference;

class TrainGolden : public testing::TestWithParam<const char*> {};

TEST_P(TrainGolden, TwentySteps) {
  auto name = std::string("train/") + GetParam();
  SKIP_WITHOUT_GOLDEN(name);
  auto g = golden::load(name);
  auto weights = golden::load_weights(name + ".init.pt");
  auto results = golden::training_run(g, golden::make_golden_model(g.json, weights));
  for (int i = 1; i <= 20; ++i) {
    SCOPED_TRACE(i);
    const auto& expected = g.json["steps"][i - 1];
    auto at = std::to_string(i);
    EXPECT_EQ(
        difference(results.at("loss." + at).item<float>(), expected["loss"], golden::kTrained), "");
    auto metrics = results.at("metrics." + at);
    for (size_t k = 0; k < kMetricNames.size(); ++k) {
      EXPECT_EQ(difference(metrics.data<float>()[k],
                           expected["metrics"].value(kMetricNames[k], 0.0), golden::kTrained),
                "")
          << kMetricNames[k];
    }
  }
  int weights_compared = 0, averages_compared = 0;
  for (auto& [key, array] : results) {
    if (!g.has(key)) continue;
    EXPECT_EQ(difference(array, g.at(key), golden::kTrained), "") << key;
    ++(key.starts_with("ema_final.") ? averages_compared : weights_compared);
  }
  EXPECT_GT(weights_compared, 15);  // after 1, 5 and 20 steps
  EXPECT_GT(averages_compared, 5);
}

INSTANTIATE_TEST_SUITE_P(All, TrainGolden,
                         testing::Values("twin_train", "twin_train_hrm", "train_att", "train_mlpt",
                                         "train_hrm"),
                         [](auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace trm
