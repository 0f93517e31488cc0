#include "trm/checkpoint/inflate.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <functional>
#include <mutex>

#include <unistd.h>
#include <zlib.h>

#include "trm/io/text.h"

namespace trm {

struct Inflater::Kept {
  std::mutex lock;
  std::deque<std::pair<uint64_t, Source>> records;  // by their place in the archive
};

namespace {

constexpr uint64_t kInMemory = 4 << 20;
constexpr size_t kKept = 4;

/// A file without a name: gone with the process, whatever ends it.
class TemporaryFile : public ByteSource {
 public:
  explicit TemporaryFile(uint64_t size) : size_(size) {
    std::string name = (std::filesystem::temp_directory_path() / "trm-inflate-XXXXXX").string();
    fd_ = mkostemp(name.data(), 0);
    if (fd_ < 0) fail("[zip] cannot create {}: {}", name, strerror(errno));
    unlink(name.c_str());
  }
  ~TemporaryFile() override { close(fd_); }

  void append(const std::byte* data, size_t bytes) {
    while (bytes > 0) {
      ssize_t n = pwrite(fd_, data, bytes, static_cast<off_t>(written_));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0)
        fail("[zip] cannot hold {} inflated bytes in {} (set TMPDIR to another folder): {}", size_,
             std::filesystem::temp_directory_path().string(), strerror(errno));
      written_ += static_cast<uint64_t>(n);
      data += n;
      bytes -= static_cast<size_t>(n);
    }
  }
  uint64_t size() const override { return size_; }
  void read(uint64_t offset, void* out, size_t bytes) const override {
    auto p = static_cast<char*>(out);
    while (bytes > 0) {
      ssize_t n = pread(fd_, p, bytes, static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) fail("[zip] cannot read an inflated record back: {}", strerror(errno));
      p += n;
      offset += static_cast<uint64_t>(n);
      bytes -= static_cast<size_t>(n);
    }
  }

 private:
  int fd_ = -1;
  uint64_t size_, written_ = 0;
};

/// Gives the inflated bytes of `packed` to `sink`, piece by piece. False unless they are `size`.
bool inflate(const Region& packed, uint64_t size,
             const std::function<void(const std::byte*, size_t)>& sink) {
  z_stream z{};
  if (inflateInit2(&z, -15) != Z_OK) throw std::bad_alloc();
  std::unique_ptr<z_stream, int (*)(z_stream*)> end(&z, inflateEnd);
  std::vector<std::byte> in(1 << 16), out(1 << 18);
  uint64_t taken = 0, made = 0;
  int result = Z_OK;
  while (result == Z_OK) {
    if (z.avail_in == 0 && taken < packed.size) {
      size_t n = std::min<uint64_t>(in.size(), packed.size - taken);
      packed.read(taken, in.data(), n);
      taken += n;
      z.next_in = reinterpret_cast<Bytef*>(in.data());
      z.avail_in = static_cast<uInt>(n);
    }
    z.next_out = reinterpret_cast<Bytef*>(out.data());
    z.avail_out = static_cast<uInt>(out.size());
    result = ::inflate(&z, Z_NO_FLUSH);  // Z_BUF_ERROR where the input ends too early
    size_t n = out.size() - z.avail_out;
    if (n > size - made) return false;
    sink(out.data(), n);
    made += n;
  }
  return result == Z_STREAM_END && made == size;
}

class InflatedRecord : public ByteSource {
 public:
  InflatedRecord(Region packed, uint64_t size, std::string name,
                 std::shared_ptr<Inflater::Kept> kept)
      : packed_(std::move(packed)), size_(size), name_(std::move(name)), kept_(std::move(kept)) {}
  uint64_t size() const override { return size_; }
  void read(uint64_t offset, void* out, size_t bytes) const override {
    if (offset > size_ || bytes > size_ - offset)
      fail("[zip] record {} ends at byte {}", printable(name_), size_);
    if (bytes > 0) inflated()->read(offset, out, bytes);
  }

 private:
  Source inflated() const {
    std::lock_guard guard(kept_->lock);
    for (auto& [place, bytes] : kept_->records)
      if (place == packed_.offset) return bytes;
    bool small = size_ <= kInMemory;
    std::vector<std::byte> memory;
    if (small) memory.reserve(size_);
    auto file = small ? nullptr : std::make_shared<TemporaryFile>(size_);
    bool right = inflate(packed_, size_, [&](const std::byte* data, size_t n) {
      if (file)
        file->append(data, n);
      else
        memory.insert(memory.end(), data, data + n);
    });
    if (!right)
      fail("[zip] record {} does not inflate to its {} bytes: the file is damaged",
           printable(name_), size_);
    Source bytes = file ? Source(file) : memory_source(std::move(memory));
    if (kept_->records.size() == kKept) kept_->records.pop_front();
    kept_->records.emplace_back(packed_.offset, bytes);
    return bytes;
  }

  Region packed_;
  uint64_t size_;
  std::string name_;
  std::shared_ptr<Inflater::Kept> kept_;
};

}  // namespace

Inflater::Inflater() : kept_(std::make_shared<Kept>()) {}
Inflater::~Inflater() = default;

Source Inflater::record(Region packed, uint64_t size, std::string name) const {
  return std::make_shared<InflatedRecord>(std::move(packed), size, std::move(name), kept_);
}

}  // namespace trm
