// SHA-256 for comparing files with recorded sums.
#pragma once

#include <filesystem>
#include <string>

#include "tests/data/data_test_util.h"
#include "trm/io/sha256.h"

namespace trm::test {

/// Every file that the record lists ("files": name -> sha256, bytes) stands in `folder` with those
/// bytes, and no other does. `part`: only those below this folder.
inline void expect_recorded_files(const std::filesystem::path& record,
                                  const std::filesystem::path& folder,
                                  const std::string& part = "") {
  auto files = nlohmann::json::parse(read_file(record))["files"];
  for (auto it = files.begin(); it != files.end();) {
    it = it.key().starts_with(part) ? std::next(it) : files.erase(it);
  }
  for (auto& [name, info] : files.items()) {
    auto bytes = read_file(folder / name);
    EXPECT_EQ(bytes.size(), info["bytes"].get<size_t>()) << name;
    EXPECT_EQ(sha256_hex(bytes), info["sha256"].get<std::string>()) << name;
  }
  size_t found = 0;
  for (auto& entry : std::filesystem::recursive_directory_iterator(folder / part)) {
    found += entry.is_regular_file();
  }
  EXPECT_EQ(found, files.size());
}

}  // namespace trm::test
