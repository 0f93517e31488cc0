// Where bytes come from: a file read by position, or memory. Parsers see only this.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace trm {

/// Random access to a fixed number of bytes; read() may be called from several threads.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  virtual uint64_t size() const = 0;
  /// Copies [offset, offset + bytes) to `out`. Throws std::runtime_error when that is not all
  /// there.
  virtual void read(uint64_t offset, void* out, size_t bytes) const = 0;
};

using Source = std::shared_ptr<const ByteSource>;

/// A regular file, read with pread: a file that shrinks meanwhile is an error, never a SIGBUS.
/// Throws std::runtime_error for a missing, unreadable or non-regular file.
Source open_file(const std::filesystem::path& path);

/// The same, going around the system's cache where that can be: for reading a large file once that
/// was just written so. Several threads keep the disk busy.
Source open_file_uncached(const std::filesystem::path& path);

/// Bytes in memory.
Source memory_source(std::vector<std::byte> bytes);

/// A window of a source.
struct Region {
  Source source;
  uint64_t offset = 0, size = 0;
  /// Copies [from, from + bytes) of the window to `out`.
  void read(uint64_t from, void* out, size_t bytes) const;
  /// The whole window; the caller has checked `size` against a limit.
  std::vector<std::byte> all() const;
  /// A window of this window; throws when it does not fit.
  Region sub(uint64_t from, uint64_t bytes) const;
};

/// The whole of `source` as a region.
Region whole(const Source& source);

}  // namespace trm
