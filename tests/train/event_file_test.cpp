#include "trm/train/event_file.h"

#include "tests/train/run_test_util.h"

namespace trm {
namespace {

namespace fs = std::filesystem;

TEST(EventFile, ChecksumIsCastagnolis) {
  EXPECT_EQ(crc32c("123456789"), 0xe3069283u);  // the check value of the CRC catalogue
  EXPECT_EQ(crc32c(""), 0u);
}

// The file against bytes written out by hand from the format's description.
TEST(EventFile, RecordsScalars) {
  auto folder = fs::temp_directory_path() / ("trm_events_" + std::to_string(getpid()));
  fs::create_directories(folder);
  EventFile(folder).append({300, 1.5, {{"a/b", 0.5}, {"c", -2}}});
  ASSERT_FALSE(fs::is_empty(folder));
  auto bytes = testing_run::RunTest::read(fs::directory_iterator(folder)->path());
  auto record = [&](size_t at) {
    uint64_t length = 0;
    memcpy(&length, bytes.data() + at, 8);
    return bytes.substr(at + 12, length);
  };
  auto version = record(0);
  EXPECT_EQ(version.substr(9), std::string("\x1a\x0d") + "brain.Event:2");
  auto event = record(version.size() + 16);
  EXPECT_EQ(event[0], '\x09');
  EXPECT_EQ(event.substr(9), std::string("\x10\xac\x02"  // step 300
                                         "\x2a\x16"      // summary of 22 bytes
                                         "\x0a\x0a\x0a\x03"
                                         "a/b\x15\x00\x00\x00\x3f"  // 0.5
                                         "\x0a\x08\x0a\x01"
                                         "c\x15\x00\x00\x00\xc0",  // -2
                                         27));
  EXPECT_EQ(bytes.size(), version.size() + event.size() + 32);
  fs::remove_all(folder);
}

}  // namespace
}  // namespace trm
