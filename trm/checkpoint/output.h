// Writing tensors: every format is laid out first, then filled by several threads in one pass.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "trm/checkpoint/dtype.h"
#include "trm/io/atomic_file.h"

namespace trm {

struct OutTensor {
  std::string name;
  DType dtype = DType::float32;
  std::vector<uint64_t> shape;
  /// Writes elements [first, first + n) in row-major order to `out`; called from several threads.
  std::function<void(uint64_t first, uint64_t n, std::byte* out)> fill;

  uint64_t count() const;
  uint64_t bytes() const { return count() * size_of(dtype); }
};

struct WriteOptions {
  unsigned threads = 0;              // 0: one a processor, at most 4
  uint64_t direct_from = 8 << 20;    // bytes from which the system's cache is gone around
  uint64_t zip64_from = 0xffffffff;  // sizes and places with zip64's fields; tests lower it
};

/// Bytes of `tensor` at a place of the file.
struct PlacedTensor {
  uint64_t offset;
  const OutTensor* tensor;
  uint32_t crc = 0;  // of the bytes, once written
};

/// Fills and writes all blocks (in the order of their places) in spans of the file; what lies
/// between them is to be written afterwards. Computes each one's CRC-32 where `with_crc`. The first
/// error of any thread is thrown.
void write_blocks(AtomicFile& file, std::vector<PlacedTensor>& blocks, bool with_crc,
                  const WriteOptions& options);

/// CRC-32 of two pieces after each other, from theirs and the second's length.
uint32_t combine_crc(uint32_t first, uint32_t second, uint64_t second_length);

/// One record of a zip archive: `head`, then the tensor's bytes.
struct ZipRecord {
  std::string name, head;
  const OutTensor* tensor = nullptr;
};

/// Writes a zip archive of stored records with real CRCs (zip64 where needed), atomically. Data
/// start at multiples of `alignment` (1: no padding), padded as torch does it.
void write_zip(const std::filesystem::path& path, const std::vector<ZipRecord>& records,
               uint64_t alignment, const WriteOptions& options);

/// Throw std::runtime_error for names that a format cannot hold, for equal names, and when writing
/// fails; nothing is left behind then.
void write_npz(const std::filesystem::path& path, const std::vector<OutTensor>& tensors,
               const WriteOptions& options = {});
void write_safetensors(const std::filesystem::path& path, const std::vector<OutTensor>& tensors,
                       const std::map<std::string, std::string>& metadata = {},
                       const WriteOptions& options = {});
/// A file that torch.load(weights_only=True) reads as an OrderedDict of these tensors.
void write_torch(const std::filesystem::path& path, const std::vector<OutTensor>& tensors,
                 const WriteOptions& options = {});

}  // namespace trm
