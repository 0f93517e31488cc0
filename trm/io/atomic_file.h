#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

namespace trm {

/// A file that appears under its name only when it is whole: bytes go to a temporary file in the
/// same folder; commit() flushes it to the disk and renames it. Without commit() the temporary file
/// is removed and an existing file of that name is untouched. On Linux the temporary file has no
/// name until commit(), where the file system can do that: nothing stays behind however the process
/// ends. Throws std::runtime_error with the path and the system's reason.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, size_t bytes);
  void write(const std::string& text) { write(text.data(), text.size()); }
  void write_at(size_t offset, const void* data, size_t bytes);
  size_t position() const { return position_; }
  /// Reserves `bytes` and goes around the system's cache from here on, which for large files is
  /// several times as fast as flushing them afterwards. Places, lengths and memory given to
  /// write_at() must then be multiples of kDirect. False, and nothing changes, where that cannot
  /// be.
  bool start_direct(size_t bytes);
  /// Ordinary writes again; cuts the file to `bytes`.
  void end_direct(size_t bytes);
  static constexpr size_t kDirect = 4096;
  /// Lets the system put what was written there on the disk already, while more is made: the flush
  /// of commit() then waits for little.
  void start_flush(size_t offset, size_t bytes);
  /// `flush` false leaves the writing to the system: whole after a crash of the program, not
  /// certainly after one of the machine. For large files that can be made again.
  void commit(bool flush = true);

 private:
  std::filesystem::path path_, temporary_;  // temporary_: empty while it has no name
  int fd_ = -1;
  size_t position_ = 0;
};

/// The folder that `file` lies in, "." without one in its name.
std::filesystem::path folder_of(const std::filesystem::path& file);

/// Writes `text` to `path` through an AtomicFile.
void write_file_atomically(const std::filesystem::path& path, const std::string& text);

}  // namespace trm
