// Deflated records of a zip archive, inflated when they are read.
#pragma once

#include <memory>
#include <string>

#include "trm/io/byte_source.h"

namespace trm {

/// Inflates an archive's records; the last few that were read are kept. One of up to 4 MiB is held
/// in memory, a larger one in a nameless file in the temporary folder, so memory stays bounded.
class Inflater {
 public:
  Inflater();
  ~Inflater();
  Inflater(const Inflater&) = delete;

  /// `size` bytes that `packed` inflates to. Nothing happens before the first read, which throws
  /// std::runtime_error with `name` when there are not exactly so many.
  Source record(Region packed, uint64_t size, std::string name) const;

  struct Kept;

 private:
  std::shared_ptr<Kept> kept_;
};

}  // namespace trm
