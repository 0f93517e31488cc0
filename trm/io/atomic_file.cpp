#include "trm/io/atomic_file.h"

#include <cerrno>
#include <cstring>
#include <stdexcept>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

namespace trm {

namespace {
[[noreturn]] void fail(const std::string& what, const std::filesystem::path& path) {
  throw std::runtime_error(fmt::format("[write] {} {}: {}", what, path.string(), strerror(errno)));
}
}  // namespace

AtomicFile::AtomicFile(std::filesystem::path path) : path_(std::move(path)) {
  std::string name = path_.string() + ".tmp-XXXXXX";
  fd_ = mkostemp(name.data(), O_CLOEXEC);
  if (fd_ < 0) fail("cannot create a file beside", path_);
  temporary_ = name;
  mode_t mask = umask(0);
  umask(mask);
  fchmod(fd_, 0666 & ~mask);
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) close(fd_);
  if (!temporary_.empty()) unlink(temporary_.c_str());
}

void AtomicFile::write(const void* data, size_t bytes) {
  write_at(position_, data, bytes);
  position_ += bytes;
}

void AtomicFile::write_at(size_t offset, const void* data, size_t bytes) {
  auto p = static_cast<const char*>(data);
  while (bytes > 0) {
    ssize_t n = pwrite(fd_, p, bytes, static_cast<off_t>(offset));
    if (n < 0) {
      if (errno == EINTR) continue;
      fail("cannot write", path_);
    }
    p += n;
    offset += static_cast<size_t>(n);
    bytes -= static_cast<size_t>(n);
  }
}

void AtomicFile::commit(bool flush) {
  if (flush && fsync(fd_) != 0) fail("cannot flush", path_);
  int fd = fd_;
  fd_ = -1;
  if (close(fd) != 0) fail("cannot close", path_);
  if (rename(temporary_.c_str(), path_.c_str()) != 0) fail("cannot rename to", path_);
  temporary_.clear();
  if (!flush) return;
  // The rename itself lasts only once the folder is on the disk too.
  auto folder = path_.has_parent_path() ? path_.parent_path() : std::filesystem::path(".");
  int dir = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (dir >= 0) {
    fsync(dir);
    close(dir);
  }
}

void write_file_atomically(const std::filesystem::path& path, const std::string& text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

}  // namespace trm
