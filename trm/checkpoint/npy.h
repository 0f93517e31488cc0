// NumPy's .npy: header and descriptors.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "trm/checkpoint/tensor.h"

namespace trm {

/// A descriptor such as "<f4", ">c8", "|b1" or "<V2" (bfloat16): dtype, and whether big-endian.
std::optional<std::pair<DType, bool>> dtype_of_npy(std::string_view descriptor);

/// Column-major strides of `shape`.
std::vector<uint64_t> column_major(const std::vector<uint64_t>& shape);

/// Reads the header of an .npy record (versions 1 to 3) and gives the tensor in it. Throws
/// std::runtime_error for anything but one dict of descr, fortran_order and shape, and for a record
/// whose size is not what they ask for.
Tensor read_npy(const Region& record, const Limits& limits);

/// See npy_header_text; throws std::runtime_error for a type that NumPy lacks.
std::string npy_header(DType dtype, const std::vector<uint64_t>& shape);

}  // namespace trm
