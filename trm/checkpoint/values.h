// Element conversions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "trm/checkpoint/dtype.h"

namespace trm {

/// Whether convert_elements() knows the pair.
bool can_convert(DType from, DType to);

/// Converts `n` elements: the same dtype (a copy), any real float to float32, float64, float16 or
/// bfloat16 (round to nearest even), any complex type to complex64. Gives the index of the first
/// finite value that became infinite, if any; the others are converted all the same.
std::optional<uint64_t> convert_elements(DType from, const std::byte* in, DType to, std::byte* out,
                                         uint64_t n);

/// sum[i] += values[i] in `dtype` (bool: or), for coordinates that a sparse tensor repeats.
void add_elements(DType dtype, std::byte* sum, const std::byte* values, uint64_t n);

float float_of_half(uint16_t bits);
uint16_t half_of_float(float value);
float float_of_bfloat16(uint16_t bits);
uint16_t bfloat16_of_float(float value);
/// The value of an 8-bit float of type `dtype`.
float float_of_float8(DType dtype, uint8_t bits);

}  // namespace trm
