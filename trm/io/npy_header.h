// The header of NumPy's .npy files: one strict reader and writer for checkpoints and data sets.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace trm {

/// What the header's dictionary says, as it stands there.
struct NpyDescription {
  std::string descr;  // "<f4", "|u1", …
  bool fortran_order = false;
  std::vector<uint64_t> shape;  // up to 64 dimensions
};

/// Where the dictionary lies in a file that starts with `head` (its first 12 bytes, or all where it
/// is shorter): the data follow it.
struct NpyPlace {
  uint64_t begin = 0, length = 0;
};
/// Throws std::runtime_error, text starting with `where`, for other files, unknown versions and a
/// length above `most`.
NpyPlace npy_place(std::string_view head, uint64_t most, const std::string& where);

/// Reads the dictionary: one Python literal of descr, fortran_order and shape, each once, in any
/// order, and nothing else. Throws std::runtime_error, text starting with `where`.
NpyDescription parse_npy_description(std::string_view text, const std::string& where);

/// The header that `np.save` of NumPy 1.23 or later writes, byte for byte, for a C-ordered array;
/// MLX's positional parser reads it. Data then start at a multiple of 64 bytes.
std::string npy_header_text(std::string_view descr, const std::vector<uint64_t>& shape);

}  // namespace trm
