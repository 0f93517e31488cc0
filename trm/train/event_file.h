#pragma once

#include <cstdint>
#include <filesystem>

#include "trm/train/metrics_log.h"

namespace trm {

/// TensorBoard's event file: records of length, data and masked CRC-32C, the data being Event
/// messages (event.proto).
class EventFile {
 public:
  /// Creates events.out.tfevents.<seconds>.trm.<pid> in `folder`. Throws std::runtime_error.
  explicit EventFile(const std::filesystem::path& folder);
  ~EventFile();
  EventFile(const EventFile&) = delete;
  EventFile& operator=(const EventFile&) = delete;

  /// Every value of `line` as a scalar, in one write. Throws std::runtime_error.
  void append(const MetricsLine& line);

 private:
  void write_record(const std::string& event);

  std::filesystem::path file_;
  int fd_ = -1;
};

/// CRC-32C (Castagnoli) of `text`.
uint32_t crc32c(const std::string& text);

}  // namespace trm
