// Where the weights that come with the program are looked for.
#include "trm/io/shipped_model.h"

#include <cstdlib>

#include <gtest/gtest.h>

#include "tests/files.h"

namespace trm {
namespace {

TEST(ShippedModel, TheEnvironmentNamesTheFolder) {
  TempDir folder;
  write_file(folder / "a.npz", "x");
  setenv("TRM_MODELS", folder.path().c_str(), 1);
  EXPECT_EQ(shipped_model("a.npz"), folder.path() / "a.npz");
  EXPECT_EQ(shipped_model("b.npz"), std::nullopt);
  unsetenv("TRM_MODELS");
  EXPECT_EQ(shipped_model("a.npz"), std::nullopt);
}

TEST(ShippedModel, TheProgramsFolderIsKnown) {
  EXPECT_TRUE(std::filesystem::exists(program_folder() / "trm_tests"));
}

}  // namespace
}  // namespace trm
