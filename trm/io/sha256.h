#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace trm {

/// SHA-256 (FIPS 180-4), fed piece by piece.
class Sha256 {
 public:
  void update(const void* data, size_t bytes);
  /// The 32-byte digest; the object is used up.
  std::array<uint8_t, 32> digest();

 private:
  void block(const uint8_t* p);

  uint32_t h_[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  uint8_t buffer_[64];
  size_t filled_ = 0;
  uint64_t total_ = 0;
};

/// The digest of `bytes` in lower-case hexadecimal.
std::string sha256_hex(std::string_view bytes);
/// Any digest in lower-case hexadecimal.
std::string to_hex(const std::array<uint8_t, 32>& digest);

}  // namespace trm
