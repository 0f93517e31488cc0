// From a tensor as a file holds it to elements of the wanted dtype.
#pragma once

#include <functional>
#include <string>

#include "trm/checkpoint/tensor.h"

namespace trm {

struct DTypePolicy {
  bool keep_bfloat16 = false;
  bool keep_float64 = false;
  bool allow_overflow = false;  // finite values may become infinite
  std::optional<DType> floats;  // real floats of every width become this one
};

/// The dtype that `tensor` gets: float8 and quantized become float32, complex becomes complex64,
/// bfloat16 and float64 become float32 unless kept; all others stay.
DType target_dtype(const Tensor& tensor, const DTypePolicy& policy);

/// Elements [first, first + n) in row-major order, converted to target_dtype(). `name` is for
/// errors. Throws std::runtime_error where a value does not survive.
void decode_elements(const Tensor& tensor, const DTypePolicy& policy, const std::string& name,
                     uint64_t first, uint64_t n, std::byte* out);

}  // namespace trm
