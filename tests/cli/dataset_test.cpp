// trm dataset as a user runs it.
#include <gmock/gmock.h>

#include "tests/train/run_test_util.h"

namespace trm {
namespace {

class DatasetCommand : public testing_run::RunTest {
 protected:
  size_t entries() const {
    auto all = std::filesystem::directory_iterator(folder_);
    return static_cast<size_t>(std::distance(begin(all), end(all)));
  }
};

TEST_F(DatasetCommand, ASignalLeavesNothingBehind) {
  auto pid = start(
      {"sudoku", "--generate", "200", "--size", "4", "--num-aug", "100000", "--output-dir", "big"},
      nullptr, {}, "", "dataset");
  // data, out, err, and what is being written
  for (int i = 0; i < 30000 && entries() < 4; ++i) usleep(1000);
  ASSERT_EQ(entries(), 4u);
  kill(pid, SIGINT);
  auto stopped = finish(pid);
  EXPECT_EQ(stopped.status, 1);
  EXPECT_EQ(stopped.err, "trm: error: [dataset] stopped by a signal while writing\n");
  EXPECT_EQ(entries(), 3u);
}

}  // namespace
}  // namespace trm
