// Against values recorded from NumPy 2.4.6 (np.random.seed(s), Philox(seed=s)).
#include "trm/data/numpy_random.h"

#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

namespace trm {
namespace {

using testing::ElementsAre;
using testing::ElementsAreArray;

TEST(NumpyMt19937, FirstValuesForSeed0) {
  NumpyMt19937 raw(0);
  EXPECT_EQ(raw.next_uint32(), 2357136044u);
  EXPECT_EQ(raw.next_uint32(), 2546248239u);
  EXPECT_EQ(NumpyMt19937(0).rand(), 0.5488135039273248);
  uint8_t digits[9];
  NumpyMt19937(0).permutation_into(digits, 9, 1);
  EXPECT_THAT(digits, ElementsAre(8, 3, 2, 5, 9, 7, 4, 1, 6));
  EXPECT_THAT(NumpyMt19937(0).choice(20, 8), ElementsAre(18, 1, 19, 8, 10, 17, 6, 13));
}

TEST(NumpyMt19937, RandintOfOneValueDrawsNothing) {
  NumpyMt19937 a(7), b(7);
  EXPECT_EQ(a.randint(3, 4), 3);
  EXPECT_EQ(a.next_uint32(), b.next_uint32());
}

TEST(NumpyMt19937, RejectsEmptyRanges) {
  NumpyMt19937 rng(0);
  EXPECT_THROW(rng.randint(4, 4), std::invalid_argument);
  EXPECT_THROW(rng.choice(3, 4), std::invalid_argument);
}

TEST(NumpyPhilox, FirstValuesForSeed0) {
  NumpyPhilox rng(0);
  EXPECT_EQ(rng.state().key[0], 15793235383387715774u);
  EXPECT_EQ(rng.next_uint64(), 259491006799949737u);
  EXPECT_EQ(rng.next_uint64(), 4754966410622352325u);
}

TEST(NumpyPhilox, SkippingAPermutationLeavesTheSameState) {
  NumpyPhilox a(3), b(3);
  std::vector<int32_t> p;
  a.permutation(1000, p);
  b.skip_permutation(1000);
  EXPECT_EQ(a.state(), b.state());
}

TEST(NumpyPhilox, ChoiceTakesDistinctItems) {
  NumpyPhilox rng(5);
  std::vector<int64_t> taken;
  for (auto [n, size] : {std::pair{10, 10}, {50, 7}, {20000, 19000}, {20000, 30}, {1, 1}, {5, 0}}) {
    rng.choice(n, size, taken);
    ASSERT_EQ(taken.size(), static_cast<size_t>(size));
    std::set<int64_t> distinct(taken.begin(), taken.end());
    EXPECT_EQ(distinct.size(), taken.size());
    if (size > 0) {
      EXPECT_GE(*distinct.begin(), 0);
      EXPECT_LT(*distinct.rbegin(), n);
    }
  }
}

TEST(NumpyRandomGolden, EveryRecordedStream) {
  auto path = std::filesystem::path(TRM_SOURCE_DIR) / "../shared/golden/batches/numpy_rng.json";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "needs ../shared/golden/batches";
  auto golden = nlohmann::json::parse(std::ifstream(path));
  for (auto& [name, g] : golden["seeds"].items()) {
    SCOPED_TRACE("seed " + name);
    auto seed = std::stoull(name);
    if (seed <= UINT32_MAX) {
      auto s = static_cast<uint32_t>(seed);
      NumpyMt19937 raw(s), rand(s), perm(s), randint(s), ranges(s), list(s);
      for (auto& v : g["mt_first_uint32"]) EXPECT_EQ(raw.next_uint32(), v.get<uint32_t>());
      for (auto& v : g["rand"]) EXPECT_EQ(rand.rand(), v.get<double>());
      for (auto& v : g["permutation_3"]) {
        EXPECT_EQ(perm.permutation(3), v.get<std::vector<int32_t>>());
      }
      for (auto& v : g["randint_0_8"]) EXPECT_EQ(randint.randint(0, 8), v.get<int64_t>());
      for (int64_t k = 1; k <= 28; ++k) {
        EXPECT_EQ(ranges.randint(0, k), g["randint_0_k_k1to28"][k - 1].get<int64_t>());
      }
      EXPECT_EQ(list.permutation(17), g["shuffle_list_17"].get<std::vector<int32_t>>());
      EXPECT_EQ(NumpyMt19937(s).choice(20, 8), g["choice_20_8_noreplace"].get<std::vector<int>>());
    }
    NumpyPhilox raw(seed), rng(seed);
    for (auto& v : g["philox_raw64"]) EXPECT_EQ(raw.next_uint64(), v.get<uint64_t>());
    std::vector<int32_t> p;
    rng.permutation(20, p);
    EXPECT_EQ(p, g["philox_permutation_20"].get<std::vector<int32_t>>());
  }
}

}  // namespace
}  // namespace trm
