// trm dataset as a user runs it.
#include <gmock/gmock.h>

#include "tests/train/run_test_util.h"

namespace trm {
namespace {

class DatasetCommand : public testing_run::RunTest {
 protected:
  auto entries() const { return std::distance(std::filesystem::directory_iterator(folder_), {}); }
};

TEST_F(DatasetCommand, ASignalLeavesNothingBehind) {
  auto pid = start(
      {"sudoku", "--generate", "200", "--size", "4", "--num-aug", "100000", "--output-dir", "big"},
      nullptr, {}, "", "dataset");
  // data, out, err, and what is being written
  for (int i = 0; i < 30000 && entries() < 4; ++i) usleep(1000);
  ASSERT_EQ(entries(), 4);
  kill(pid, SIGINT);
  auto stopped = finish(pid);
  EXPECT_EQ(stopped.status, 1);
  EXPECT_EQ(stopped.err, "trm: error: [dataset] stopped by a signal while writing\n");
  EXPECT_EQ(entries(), 3);
}

}  // namespace
}  // namespace trm
