// 20 training steps against the reference's: loss and metrics of each, weights after 1, 5 and 20,
// EMA.
#include "tests/golden.h"

#include <gtest/gtest.h>

#include "trm/train/train_step.h"

namespace trm {
namespace {

using golden::difference;

class TrainGolden : public testing::TestWithParam<const char*> {};

TEST_P(TrainGolden, TwentySteps) {
  auto name = std::string("train/") + GetParam();
  SKIP_WITHOUT_GOLDEN(name);
  auto g = golden::load(name);
  auto weights = golden::load_weights(name + ".init.pt");
  const auto& j = g.json["hyper"];
  Hyperparameters h;
  h.global_batch_size = g.json["config"]["batch_size"];
  h.lr = j["lr"];
  h.lr_min_ratio = j["lr_min_ratio"];
  h.lr_warmup_steps = j["lr_warmup_steps"];
  h.total_steps = j["total_steps"];
  h.adam = {j["weight_decay"], j["beta1"], j["beta2"]};
  h.puzzle_emb_lr = j["puzzle_emb_lr"];
  h.puzzle_emb_weight_decay = j["puzzle_emb_weight_decay"];
  h.ema_rate = j["ema_rate"];

  auto batch = [&](int i) {
    auto prefix = "batch." + std::to_string(i);
    return Examples{g.at(prefix + ".inputs"), g.at(prefix + ".labels"),
                    g.at(prefix + ".puzzle_identifiers")};
  };
  auto state = make_train_state(golden::make_golden_model(g.json, weights), batch(1),
                                mx::random::key(0), /*use_ema=*/true);
  for (int i = 1; i <= 20; ++i) {
    SCOPED_TRACE(i);
    auto r = begin_train_step(state, batch(i), h);
    finish_train_step(state, r.weights, r.puzzle_rows, r.step.carry.current.puzzle_identifiers, h);
    mx::eval(state_arrays(state));
    mx::eval(r.step.loss, r.step.metrics);
    const auto& expected = g.json["steps"][i - 1];
    EXPECT_EQ(difference(r.step.loss.item<float>(), expected["loss"], golden::kTrained), "");
    for (size_t k = 0; k < kMetricNames.size(); ++k) {
      EXPECT_EQ(difference(r.step.metrics.data<float>()[k],
                           expected["metrics"].value(kMetricNames[k], 0.0), golden::kTrained),
                "")
          << kMetricNames[k];
    }
    auto prefix = "weights_after." + std::to_string(i) + ".";
    for (auto& [name, array] : named_arrays(state.model)) {
      if (g.has(prefix + name)) {
        EXPECT_EQ(difference(array, g.at(prefix + name), golden::kTrained), "") << name;
      }
    }
  }
  int compared = 0;
  for (auto& [name, array] : named_arrays(averaged_model(state))) {
    if (!g.has("ema_final." + name)) continue;
    EXPECT_EQ(difference(array, g.at("ema_final." + name), golden::kTrained), "") << name;
    ++compared;
  }
  EXPECT_GT(compared, 5);
}

INSTANTIATE_TEST_SUITE_P(All, TrainGolden,
                         testing::Values("twin_train", "train_att", "train_mlpt", "train_hrm"),
                         [](auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace trm
