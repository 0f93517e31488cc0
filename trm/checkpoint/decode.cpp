#include "trm/checkpoint/decode.h"

#include <algorithm>
#include <cstring>

#include "trm/checkpoint/values.h"
#include "trm/io/text.h"

namespace trm {

DType target_dtype(const Tensor& t, const DTypePolicy& policy) {
  DType dtype = t.dtype;
  if (is_quantized(dtype) || is_float8(dtype)) dtype = DType::float32;
  if (is_complex(dtype)) return DType::complex64;
  bool real = dtype == DType::float16 || dtype == DType::bfloat16 || dtype == DType::float32 ||
              dtype == DType::float64;
  if (real && policy.floats) return *policy.floats;
  if (dtype == DType::bfloat16 && !policy.keep_bfloat16) return DType::float32;
  if (dtype == DType::float64 && !policy.keep_float64) return DType::float32;
  return dtype;
}

namespace {

/// (integer - zero point) * scale, rounded as torch's dequantize rounds: the product is float32 for
/// one scale and for float zero points, float64 for a scale a channel. A damaged zero point may be
/// any integer, so differences are taken in float64, which is exact for all that make sense.
void dequantize(const Tensor& t, const std::byte* in, uint64_t first, uint64_t n, float* out) {
  auto integer = [&](uint64_t i) -> double {
    if (t.dtype == DType::qint8) return static_cast<int8_t>(in[i]);
    if (t.dtype == DType::quint8) return static_cast<uint8_t>(in[i]);
    int32_t value;
    memcpy(&value, in + 4 * i, 4);
    return value;
  };
  const Quantization* q = t.quantization.get();
  if (!q) fail("[torch] damaged: a quantized tensor without scales");
  if (!q->scales) {
    auto scale = static_cast<float>(q->scale);
    auto zero = static_cast<double>(q->zero_point);
    for (uint64_t i = 0; i < n; ++i) out[i] = static_cast<float>(integer(i) - zero) * scale;
    return;
  }
  uint64_t channels = t.shape[q->axis], inner = 1;
  for (size_t d = q->axis + 1; d < t.shape.size(); ++d) inner *= t.shape[d];
  // A chunk meets few channels when they are long, all of them when they are short.
  auto parameter = [](const Tensor& p, uint64_t i) -> double {
    double value = 0;
    std::byte raw[16];
    read_elements(p, i, 1, raw);
    if (p.dtype == DType::int64) {
      int64_t integer_value;
      memcpy(&integer_value, raw, 8);
      return static_cast<double>(integer_value);
    }
    convert_elements(p.dtype, raw, DType::float64, reinterpret_cast<std::byte*>(&value), 1);
    return value;
  };
  bool float_zero = q->zero_points->dtype != DType::int64;
  for (uint64_t i = 0; i < n;) {
    uint64_t channel = (first + i) / inner % channels;
    uint64_t run = std::min(n - i, inner - (first + i) % inner);
    double scale = parameter(*q->scales, channel), zero = parameter(*q->zero_points, channel);
    for (uint64_t k = i; k < i + run; ++k) {
      out[k] = float_zero ? (static_cast<float>(integer(k)) - static_cast<float>(zero)) *
                                static_cast<float>(scale)
                          : static_cast<float>((integer(k) - zero) * scale);
    }
    i += run;
  }
}

}  // namespace

void decode_elements(const Tensor& t, const DTypePolicy& policy, const std::string& name,
                     uint64_t first, uint64_t n, std::byte* out) {
  DType to = target_dtype(t, policy);
  if (to == t.dtype) return read_elements(t, first, n, out);
  constexpr uint64_t kStep = 1 << 16;
  const bool quantized = is_quantized(t.dtype);
  static thread_local std::vector<std::byte> input;
  static thread_local std::vector<float> floats;
  input.resize(std::max<size_t>(input.size(), kStep * 16));
  for (uint64_t done = 0; done < n;) {
    uint64_t step = std::min(kStep, n - done);
    read_elements(t, first + done, step, input.data());
    const std::byte* in = input.data();
    DType from = t.dtype;
    if (quantized) {
      floats.resize(kStep);
      dequantize(t, in, first + done, step, floats.data());
      in = reinterpret_cast<const std::byte*>(floats.data());
      from = DType::float32;
    }
    auto bad = convert_elements(from, in, to, out + done * size_of(to), step);
    if (bad && !policy.allow_overflow)
      fail(
          "[convert] element {} of {} is out of {}'s range: keep its type or pass --allow-overflow",
          first + done + *bad, printable(name), name_of(to));
    done += step;
  }
}

}  // namespace trm
