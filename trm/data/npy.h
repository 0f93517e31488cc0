// NumPy's .npy files (format versions 1 to 3): strict, bounded reading and byte-exact writing.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace trm {

struct NpyHeader {
  char kind = 'u';    // 'b' bool, 'i' signed, 'u' unsigned, 'f' float
  int item_size = 1;  // bytes: 1, 2, 4 or 8
  bool fortran_order = false;
  std::vector<int64_t> shape;
  size_t data_offset = 0;  // bytes from the start of the file

  /// Product of the shape; the parser has checked that it fits.
  int64_t count() const;
  std::string dtype() const;  // "uint8", "int64", "float32", …
};

/// Reads the header at the start of `bytes`. `name` is used in errors. Throws std::runtime_error
/// for anything that NumPy would not have written for a plain array of native little-endian
/// numbers.
NpyHeader parse_npy_header(std::string_view bytes, const std::string& name);

/// The header that `np.save` of NumPy 1.23 or later writes, byte for byte, for a C-ordered array.
std::string npy_header(char kind, int item_size, std::span<const int64_t> shape);

/// A .npy file mapped into memory, read-only; its size is checked against its header.
class NpyFile {
 public:
  explicit NpyFile(const std::filesystem::path& path);
  ~NpyFile();
  NpyFile(NpyFile&& other) noexcept;
  NpyFile& operator=(NpyFile&&) = delete;

  const NpyHeader& header() const { return header_; }
  const std::string& name() const { return name_; }
  const uint8_t* data() const { return map_ + header_.data_offset; }
  /// All elements in C order, each checked to lie in [low, high] and in T (std::runtime_error names
  /// the first that does not). Integer and bool files only.
  template <class T>
  std::vector<T> read(int64_t low = std::numeric_limits<T>::min(),
                      int64_t high = std::numeric_limits<T>::max()) const;

 private:
  std::string name_;
  const uint8_t* map_ = nullptr;
  size_t size_ = 0;
  NpyHeader header_;
};

/// Writes a C-ordered array atomically. T is one of uint8_t, int32_t, int64_t, float, double.
template <class T>
void write_npy(const std::filesystem::path& path, std::span<const T> values,
               std::span<const int64_t> shape);

}  // namespace trm
