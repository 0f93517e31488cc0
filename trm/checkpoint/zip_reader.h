// The directory of a zip archive, read strictly: what two zip readers could understand differently
// is refused (attacks hide there).
#pragma once

#include <map>
#include <string>
#include <vector>

#include "trm/checkpoint/inflate.h"
#include "trm/checkpoint/limits.h"
#include "trm/io/byte_source.h"

namespace trm {

struct ZipEntry {
  std::string name;
  uint64_t offset = 0;  // of the data
  uint64_t stored_size = 0, size = 0;
  uint32_t crc = 0;
  bool deflated = false;
};

class ZipReader {
 public:
  /// Throws std::runtime_error for a damaged, encrypted, multi-disk or ambiguous archive. Names
  /// that differ only in case are refused where `fold_case` (torch looks them up that way).
  ZipReader(Source source, const Limits& limits, bool fold_case);

  const std::vector<ZipEntry>& entries() const { return entries_; }
  const ZipEntry* find(const std::string& name) const;
  /// The record's bytes; a deflated one is inflated when it is read, within the limits.
  Region open(const ZipEntry& entry) const;

 private:
  void read_directory(bool fold_case);
  void check_local_headers();

  Source source_;
  Limits limits_;
  uint64_t directory_offset_ = 0;
  std::vector<ZipEntry> entries_;
  std::vector<uint64_t> header_offsets_;
  std::map<std::string, size_t> by_name_;
  Inflater inflater_;
};

}  // namespace trm
