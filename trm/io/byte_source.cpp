#include "trm/io/byte_source.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef __linux__
#include <linux/magic.h>
#include <sys/statfs.h>
#endif

#include "trm/io/text.h"

namespace trm {

namespace {

class FileSource : public ByteSource {
 public:
  explicit FileSource(const std::filesystem::path& path) : path_(path) {
    // O_NONBLOCK: a named pipe must be refused, not waited for.
    fd_ = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd_ < 0) {
      if (errno == ENOENT) fail("[read] there is no file {}", printable(path.string()));
      fail("[read] cannot open {}: {}", printable(path.string()), strerror(errno));
    }
    struct stat info {};
    if (fstat(fd_, &info) != 0 || !S_ISREG(info.st_mode)) {
      close(fd_);
      fail("[read] {} is {}, not a file", printable(path.string()),
           S_ISDIR(info.st_mode) ? "a folder" : "a device or pipe");
    }
    size_ = static_cast<uint64_t>(info.st_size);
  }
  ~FileSource() override { close(fd_); }

  uint64_t size() const override { return size_; }

  void read(uint64_t offset, void* out, size_t bytes) const override {
    if (offset > size_ || bytes > size_ - offset)
      fail("[read] {} ends at byte {}, but bytes {} to {} are needed", printable(path_.string()),
           size_, offset, offset + bytes);
    auto p = static_cast<char*>(out);
    while (bytes > 0) {
      ssize_t n = pread(fd_, p, bytes, static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) fail("[read] cannot read {}: {}", printable(path_.string()), strerror(errno));
      if (n == 0)
        fail("[read] {} shrank while it was read: it had {} bytes, now it ends before byte {}",
             printable(path_.string()), size_, offset + 1);
      p += n;
      offset += static_cast<uint64_t>(n);
      bytes -= static_cast<size_t>(n);
    }
  }

 private:
  std::filesystem::path path_;
  int fd_ = -1;
  uint64_t size_ = 0;
};

#ifdef __linux__
/// Large reads go through an aligned buffer of the calling thread.
class UncachedSource : public ByteSource {
 public:
  UncachedSource(const std::filesystem::path& path, Source cached)
      : cached_(std::move(cached)), fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT)) {}
  ~UncachedSource() override {
    if (fd_ >= 0) close(fd_);
  }
  bool works() const {
    struct statfs system {};
    return fd_ >= 0 && fstatfs(fd_, &system) == 0 && system.f_type != TMPFS_MAGIC;
  }
  uint64_t size() const override { return cached_->size(); }
  void read(uint64_t offset, void* out, size_t bytes) const override {
    if (bytes < (64 << 10) || !read_around(offset, out, bytes)) cached_->read(offset, out, bytes);
  }

 private:
  static constexpr uint64_t kAlign = 4096, kMost = 4 << 20;

  /// False where the system refuses or the file ends: then the ordinary way does it or says why.
  bool read_around(uint64_t offset, void* out, size_t bytes) const {
    uint64_t begin = offset / kAlign * kAlign;
    uint64_t span = (offset + bytes - begin + kAlign - 1) / kAlign * kAlign;
    if (span > kMost) return false;
    static thread_local std::unique_ptr<std::byte, void (*)(void*)> buffer(
        static_cast<std::byte*>(std::aligned_alloc(kAlign, kMost)), std::free);
    if (!buffer) return false;
    ssize_t got = pread(fd_, buffer.get(), span, static_cast<off_t>(begin));
    if (got < 0 || static_cast<uint64_t>(got) < offset - begin + bytes) return false;
    memcpy(out, buffer.get() + (offset - begin), bytes);
    return true;
  }

  Source cached_;
  int fd_;
};
#endif

class MemorySource : public ByteSource {
 public:
  explicit MemorySource(std::vector<std::byte> bytes) : bytes_(std::move(bytes)) {}
  uint64_t size() const override { return bytes_.size(); }
  void read(uint64_t offset, void* out, size_t bytes) const override {
    if (offset > bytes_.size() || bytes > bytes_.size() - offset)
      fail("[read] the data end at byte {}, but bytes {} to {} are needed", bytes_.size(), offset,
           offset + bytes);
    if (bytes > 0) memcpy(out, bytes_.data() + offset, bytes);
  }

 private:
  std::vector<std::byte> bytes_;
};

}  // namespace

Source open_file(const std::filesystem::path& path) { return std::make_shared<FileSource>(path); }

Source open_file_uncached(const std::filesystem::path& path) {
  Source cached = open_file(path);
#ifdef __linux__
  auto around = std::make_shared<UncachedSource>(path, cached);
  if (around->works()) return around;
#endif
  return cached;
}

Source memory_source(std::vector<std::byte> bytes) {
  return std::make_shared<MemorySource>(std::move(bytes));
}

void Region::read(uint64_t from, void* out, size_t bytes) const {
  if (from > size || bytes > size - from)
    fail("[read] a record of {} bytes is too short: bytes {} to {} are needed", size, from,
         from + bytes);
  source->read(offset + from, out, bytes);
}

std::vector<std::byte> Region::all() const {
  std::vector<std::byte> bytes(size);
  read(0, bytes.data(), bytes.size());
  return bytes;
}

Region Region::sub(uint64_t from, uint64_t bytes) const {
  if (from > size || bytes > size - from)
    fail("[read] a record of {} bytes is too short: bytes {} to {} are needed", size, from,
         from + bytes);
  return {source, offset + from, bytes};
}

Region whole(const Source& source) { return {source, 0, source->size()}; }

}  // namespace trm
