#include "trm/io/atomic_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/files.h"

namespace trm {
namespace {

namespace fs = std::filesystem;

TEST(AtomicFile, ReplacesAFileAtCommitOnly) {
  TempDir dir;
  write_file(dir / "a", "old");
  {
    AtomicFile file(dir / "a");
    file.write("half");
  }
  EXPECT_EQ(read_file(dir / "a"), "old");
  for (bool flush : {true, false}) {
    AtomicFile file(dir / "a");
    file.write(flush ? "new" : "newer");
    EXPECT_EQ(read_file(dir / "a"), flush ? "old" : "new");
    file.commit(flush);
  }
  EXPECT_EQ(read_file(dir / "a"), "newer");
  EXPECT_EQ(std::distance(fs::directory_iterator(dir.path()), {}), 1);
  struct stat status = {};
  stat((dir / "a").c_str(), &status);
  mode_t mask = umask(0);
  umask(mask);
  EXPECT_EQ(status.st_mode & 0777, 0666 & ~mask);
}

#ifdef O_TMPFILE
TEST(AtomicFile, HasNoNameWhileItIsWritten) {
  TempDir dir;
  int fd = open(dir.path().c_str(), O_TMPFILE | O_RDWR, 0600);
  if (fd < 0) GTEST_SKIP() << "this file system has no files without a name";
  close(fd);
  AtomicFile file(dir / "a");
  file.write("half");
  EXPECT_EQ(std::distance(fs::directory_iterator(dir.path()), {}), 0);
}
#endif

}  // namespace
}  // namespace trm
