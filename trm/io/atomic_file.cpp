#include "trm/io/atomic_file.h"

#include <cerrno>
#include <cstring>
#include <random>
#include <stdexcept>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef __linux__
#include <linux/magic.h>
#include <sys/statfs.h>
#endif

namespace trm {

namespace {
[[noreturn]] void fail(const std::string& what, const std::filesystem::path& path) {
  throw std::runtime_error(fmt::format("[write] {} {}: {}", what, path.string(), strerror(errno)));
}

std::string entry_of(int fd) { return fmt::format("/proc/self/fd/{}", fd); }
}  // namespace

std::filesystem::path folder_of(const std::filesystem::path& file) {
  return file.has_parent_path() ? file.parent_path() : ".";
}

AtomicFile::AtomicFile(std::filesystem::path path) : path_(std::move(path)) {
#ifdef O_TMPFILE
  fd_ = open(folder_of(path_).c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0666);
  if (fd_ >= 0 && access(entry_of(fd_).c_str(), F_OK) == 0) return;
  if (fd_ >= 0) close(fd_);
#endif
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

bool AtomicFile::start_direct(size_t bytes) {
#ifdef __linux__
  struct statfs system {};
  int flags = fcntl(fd_, F_GETFL);
  if (fstatfs(fd_, &system) != 0 || system.f_type == TMPFS_MAGIC ||
      fcntl(fd_, F_SETFL, flags | O_DIRECT) != 0)
    return false;
  // Some file systems take the flag and refuse the write.
  alignas(kDirect) static const std::byte kZeros[kDirect]{};
  if (pwrite(fd_, kZeros, kDirect, 0) != static_cast<ssize_t>(kDirect)) {
    fcntl(fd_, F_SETFL, flags);
    return false;
  }
  // Writes into reserved space need not wait for each other.
  if (fallocate(fd_, 0, 0, static_cast<off_t>(bytes)) != 0 && errno != EOPNOTSUPP)
    fail("cannot write", path_);
  return true;
#else
  return false;
#endif
}

void AtomicFile::end_direct(size_t bytes) {
#ifdef __linux__
  fcntl(fd_, F_SETFL, fcntl(fd_, F_GETFL) & ~O_DIRECT);
  if (ftruncate(fd_, static_cast<off_t>(bytes)) != 0) fail("cannot write", path_);
#endif
}

void AtomicFile::start_flush(size_t offset, size_t bytes) {
#ifdef __linux__
  sync_file_range(fd_, static_cast<off_t>(offset), static_cast<off_t>(bytes),
                  SYNC_FILE_RANGE_WRITE);
#endif
}

void AtomicFile::commit(bool flush) {
  if (flush && fsync(fd_) != 0) fail("cannot flush", path_);
  if (temporary_.empty()) {  // linkat() does not replace a file, rename() does
    std::string name;
    int failed = -1;
    do {
      name = fmt::format("{}.tmp-{:08x}", path_.string(), std::random_device{}());
      failed = linkat(AT_FDCWD, entry_of(fd_).c_str(), AT_FDCWD, name.c_str(), AT_SYMLINK_FOLLOW);
    } while (failed && errno == EEXIST);
    if (failed) fail("cannot name", path_);
    temporary_ = name;
  }
  int fd = fd_;
  fd_ = -1;
  if (close(fd) != 0) fail("cannot close", path_);
  if (rename(temporary_.c_str(), path_.c_str()) != 0) fail("cannot rename to", path_);
  temporary_.clear();
  if (!flush) return;
  // The rename itself lasts only once the folder is on the disk too.
  int dir = open(folder_of(path_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
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
