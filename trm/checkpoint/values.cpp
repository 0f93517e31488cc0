#include "trm/checkpoint/values.h"

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "trm/io/text.h"

namespace trm {

float float_of_bfloat16(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

uint16_t bfloat16_of_float(float value) {
  auto bits = std::bit_cast<uint32_t>(value);
  if (std::isnan(value)) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

float float_of_half(uint16_t bits) {
  uint32_t sign = uint32_t{bits & 0x8000u} << 16, exponent = bits >> 10 & 0x1f,
           mantissa = bits & 0x3ff;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000 | mantissa << 13);
  if (exponent == 0) {
    float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | sign);
  }
  return std::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
}

uint16_t half_of_float(float value) {
  auto bits = std::bit_cast<uint32_t>(value);
  auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  bits &= 0x7fffffff;
  if (bits > 0x7f800000) return static_cast<uint16_t>(sign | 0x7e00 | (bits >> 13 & 0x3ff));
  if (bits >= 0x477ff000) return static_cast<uint16_t>(sign | 0x7c00);  // rounds past 65504
  if (bits < 0x38800000) {
    // Below the smallest normal half: adding 0.5 lets the float unit round to a multiple of 2^-24.
    float shifted = std::bit_cast<float>(bits) + 0.5f;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3f000000));
  }
  bits += 0xfff + (bits >> 13 & 1);
  return static_cast<uint16_t>(sign | ((bits - 0x38000000) >> 13));
}

float float_of_float8(DType dtype, uint8_t bits) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  if (dtype == DType::float8_e8m0fnu) return bits == 0xff ? kNan : std::ldexp(1.0f, bits - 127);
  bool e5 = dtype == DType::float8_e5m2 || dtype == DType::float8_e5m2fnuz;
  bool fnuz = dtype == DType::float8_e4m3fnuz || dtype == DType::float8_e5m2fnuz;
  float sign = bits & 0x80 ? -1.0f : 1.0f;
  int mantissa_bits = e5 ? 2 : 3, bias = (e5 ? 15 : 7) + (fnuz ? 1 : 0);
  int exponent = (bits & 0x7f) >> mantissa_bits, mantissa = bits & ((1 << mantissa_bits) - 1);
  if (fnuz && bits == 0x80) return kNan;
  if (dtype == DType::float8_e4m3fn && (bits & 0x7f) == 0x7f) return std::copysign(kNan, sign);
  if (dtype == DType::float8_e5m2 && exponent == 31)
    return mantissa == 0 ? sign * std::numeric_limits<float>::infinity()
                         : std::copysign(kNan, sign);
  auto scaled = static_cast<float>(exponent == 0 ? mantissa : mantissa + (1 << mantissa_bits));
  return sign * std::ldexp(scaled, (exponent == 0 ? 1 : exponent) - bias - mantissa_bits);
}

namespace {

template <class T>
T load(const std::byte* p, uint64_t i) {
  T value;
  memcpy(&value, p + i * sizeof(T), sizeof(T));
  return value;
}

template <class T>
void store(std::byte* p, uint64_t i, T value) {
  memcpy(p + i * sizeof(T), &value, sizeof(T));
}

bool is_real_float(DType d) {
  return d == DType::float16 || d == DType::bfloat16 || d == DType::float32 ||
         d == DType::float64 || is_float8(d);
}

/// Runs `f(i, value)` over the elements as float or double.
template <class F>
void for_each(DType from, const std::byte* in, uint64_t n, F&& f) {
  switch (from) {
    case DType::float16:
      for (uint64_t i = 0; i < n; ++i) f(i, float_of_half(load<uint16_t>(in, i)));
      return;
    case DType::bfloat16:
      for (uint64_t i = 0; i < n; ++i) f(i, float_of_bfloat16(load<uint16_t>(in, i)));
      return;
    case DType::float32:
      for (uint64_t i = 0; i < n; ++i) f(i, load<float>(in, i));
      return;
    case DType::float64:
      for (uint64_t i = 0; i < n; ++i) f(i, load<double>(in, i));
      return;
    default: {
      std::array<float, 256> table;
      for (size_t b = 0; b < 256; ++b) table[b] = float_of_float8(from, static_cast<uint8_t>(b));
      for (uint64_t i = 0; i < n; ++i) f(i, table[load<uint8_t>(in, i)]);
    }
  }
}

/// A finite value whose converted one is not: its index is kept once.
struct Overflow {
  std::optional<uint64_t> first;
  void check(bool was_finite, bool is_finite, uint64_t i) {
    if (was_finite && !is_finite && !first) first = i;
  }
};

}  // namespace

bool can_convert(DType from, DType to) {
  if (from == to) return true;
  if (is_complex(from)) return to == DType::complex64;
  return is_real_float(from) && is_real_float(to) && !is_float8(to);
}

std::optional<uint64_t> convert_elements(DType from, const std::byte* in, DType to, std::byte* out,
                                         uint64_t n) {
  Overflow overflow;
  if (!can_convert(from, to)) fail("[convert] {} cannot become {}", name_of(from), name_of(to));
  if (from == to) {
    memcpy(out, in, n * size_of(from));
  } else if (from == DType::bfloat16 && to == DType::float32) {
    for (uint64_t i = 0; i < n; ++i) store<uint32_t>(out, i, uint32_t{load<uint16_t>(in, i)} << 16);
  } else if (from == DType::complex32) {
    for (uint64_t i = 0; i < 2 * n; ++i) store(out, i, float_of_half(load<uint16_t>(in, i)));
  } else if (from == DType::complex128) {
    for (uint64_t i = 0; i < 2 * n; ++i) {
      auto value = load<double>(in, i);
      auto narrow = static_cast<float>(value);
      overflow.check(std::isfinite(value), std::isfinite(narrow), i / 2);
      store(out, i, narrow);
    }
  } else {
    for_each(from, in, n, [&](uint64_t i, auto value) {
      bool finite = std::isfinite(value);
      switch (to) {
        case DType::float64:
          return store(out, i, static_cast<double>(value));
        case DType::float32:
          overflow.check(finite, std::isfinite(static_cast<float>(value)), i);
          return store(out, i, static_cast<float>(value));
        case DType::float16: {
          uint16_t half = half_of_float(static_cast<float>(value));
          overflow.check(finite, (half & 0x7c00) != 0x7c00, i);
          return store(out, i, half);
        }
        default: {
          uint16_t brain = bfloat16_of_float(static_cast<float>(value));
          overflow.check(finite, (brain & 0x7f80) != 0x7f80, i);
          return store(out, i, brain);
        }
      }
    });
  }
  return overflow.first;
}

namespace {
template <class T>
void add(std::byte* sum, const std::byte* values, uint64_t n) {
  for (uint64_t i = 0; i < n; ++i)
    store<T>(sum, i, static_cast<T>(load<T>(sum, i) + load<T>(values, i)));
}
void add_small(std::byte* sum, const std::byte* values, uint64_t n, float (*widen)(uint16_t),
               uint16_t (*narrow)(float)) {
  for (uint64_t i = 0; i < n; ++i)
    store(sum, i, narrow(widen(load<uint16_t>(sum, i)) + widen(load<uint16_t>(values, i))));
}
}  // namespace

void add_elements(DType dtype, std::byte* sum, const std::byte* values, uint64_t n) {
  switch (dtype) {
    case DType::bool_:
      for (uint64_t i = 0; i < n; ++i) sum[i] |= values[i];
      return;
    case DType::uint8:
    case DType::int8:
      return add<uint8_t>(sum, values, n);
    case DType::uint16:
    case DType::int16:
      return add<uint16_t>(sum, values, n);
    case DType::uint32:
    case DType::int32:
      return add<uint32_t>(sum, values, n);
    case DType::uint64:
    case DType::int64:
      return add<uint64_t>(sum, values, n);
    case DType::float16:
      return add_small(sum, values, n, float_of_half, half_of_float);
    case DType::complex32:
      return add_small(sum, values, 2 * n, float_of_half, half_of_float);
    case DType::bfloat16:
      return add_small(sum, values, n, float_of_bfloat16, bfloat16_of_float);
    case DType::float32:
      return add<float>(sum, values, n);
    case DType::complex64:
      return add<float>(sum, values, 2 * n);
    case DType::float64:
      return add<double>(sum, values, n);
    case DType::complex128:
      return add<double>(sum, values, 2 * n);
    default:
      fail("[torch] sparse tensors of {} cannot be converted", name_of(dtype));
  }
}

}  // namespace trm
