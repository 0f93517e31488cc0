// Files that a fuzzer or a review once found (fuzz/regressions): each is converted rightly or
// refused.
#include <gtest/gtest.h>

#include "tests/checkpoint/hostile.h"
#include "trm/checkpoint/convert.h"

namespace trm {
namespace {

TEST(FuzzRegressions, AreConvertedRightlyOrRefused) {
  namespace fs = std::filesystem;
  TempDir dir;
  int files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(TRM_SOURCE_DIR "/fuzz/regressions")) {
    if (!entry.is_regular_file()) continue;
    SCOPED_TRACE(entry.path().string());
    std::string bytes = read_file(entry.path());
    bool pickle = entry.path().parent_path().filename() == "pickle";
    write_file(dir / "in", pickle ? hostile::torch_file(bytes) : bytes);
    for (const char* key : {"", "."}) {
      ConvertOptions options;
      options.source.key = key;
      try {
        write_conversion(plan_conversion(dir / "in", options), dir / "out.npz", options);
        EXPECT_TRUE(verify_conversion(dir / "in", dir / "out.npz", options).differences.empty());
      } catch (const std::runtime_error& e) {
        EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos);
      }
    }
    ++files;
  }
  EXPECT_GE(files, 6);
}

}  // namespace
}  // namespace trm
