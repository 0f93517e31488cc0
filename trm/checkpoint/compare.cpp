#include "trm/checkpoint/compare.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <unordered_map>

#include "trm/checkpoint/decode.h"
#include "trm/checkpoint/names.h"
#include "trm/io/text.h"

namespace trm {

namespace {

template <class T>
void widen(const std::byte* in, uint64_t n, double* out) {
  for (uint64_t i = 0; i < n; ++i) {
    T value;
    memcpy(&value, in + i * sizeof(T), sizeof(T));
    out[i] = static_cast<double>(value);
  }
}

/// Elements [first, first + n) as doubles, two an element for complex numbers. Integers above 2^53
/// round.
void read_doubles(const NamedTensor& t, uint64_t first, uint64_t n, std::vector<std::byte>& raw,
                  double* out) {
  DTypePolicy policy;
  DType dtype = t.tensor.dtype;
  policy.allow_overflow = true;
  if (!is_complex(dtype)) policy.floats = DType::float64;
  DType target = target_dtype(t.tensor, policy);
  raw.resize(n * 16);
  decode_elements(t.tensor, policy, t.name, first, n, raw.data());
  switch (target) {
    case DType::bool_:
    case DType::uint8:
      return widen<uint8_t>(raw.data(), n, out);
    case DType::int8:
      return widen<int8_t>(raw.data(), n, out);
    case DType::uint16:
      return widen<uint16_t>(raw.data(), n, out);
    case DType::int16:
      return widen<int16_t>(raw.data(), n, out);
    case DType::uint32:
      return widen<uint32_t>(raw.data(), n, out);
    case DType::int32:
      return widen<int32_t>(raw.data(), n, out);
    case DType::uint64:
      return widen<uint64_t>(raw.data(), n, out);
    case DType::int64:
      return widen<int64_t>(raw.data(), n, out);
    case DType::complex64:
      return widen<float>(raw.data(), 2 * n, out);
    default:
      return widen<double>(raw.data(), n, out);
  }
}

bool equal(double a, double b) {
  return std::isnan(a) ? std::isnan(b) : a == b && std::signbit(a) == std::signbit(b);
}

TensorDifference compare_values(const NamedTensor& a, const NamedTensor& b) {
  constexpr uint64_t kStep = 1 << 16;
  TensorDifference d;
  std::vector<std::byte> raw, raw_b;
  std::vector<double> x(2 * kStep), y(2 * kStep);
  bool plain = a.tensor.dtype == b.tensor.dtype && !is_quantized(a.tensor.dtype);
  size_t item = size_of(a.tensor.dtype);
  uint64_t parts = is_complex(a.tensor.dtype) || is_complex(b.tensor.dtype) ? 2 : 1;
  for (uint64_t first = 0, count = a.tensor.count(); first < count; first += kStep) {
    uint64_t n = std::min(kStep, count - first);
    if (plain) {
      raw.resize(n * 16);
      raw_b.resize(n * 16);
      read_elements(a.tensor, first, n, raw.data());
      read_elements(b.tensor, first, n, raw_b.data());
      if (memcmp(raw.data(), raw_b.data(), n * item) == 0) continue;
    }
    read_doubles(a, first, n, raw, x.data());
    read_doubles(b, first, n, raw_b, y.data());
    uint64_t last = ~uint64_t{0};
    for (uint64_t i = 0; i < n * parts; ++i) {
      if (equal(x[i], y[i]) || i / parts == last) continue;
      last = i / parts;
      if (d.elements++ == 0) d.first = first + last;
      double distance = std::fabs(x[i] - y[i]);
      d.largest = std::isnan(distance) ? distance : std::max(d.largest, distance);
    }
  }
  return d;
}

}  // namespace

Comparison compare_checkpoints(const SourceFile& a, const SourceFile& b) {
  Comparison out;
  std::unordered_map<std::string, const NamedTensor*> others;
  for (const NamedTensor& t : b.weights.tensors) others.emplace(strip_orig_mod(t.name), &t);
  for (const NamedTensor& t : a.weights.tensors) {
    std::string name = strip_orig_mod(t.name);
    auto found = others.find(name);
    if (found == others.end()) {
      out.differences.push_back({name, "only in the first"});
      continue;
    }
    const NamedTensor& other = *found->second;
    others.erase(found);
    if (t.tensor.shape != other.tensor.shape) {
      out.differences.push_back({name, fmt::format("shape {} and {}", shape_text(t.tensor.shape),
                                                   shape_text(other.tensor.shape))});
      continue;
    }
    if (is_complex(t.tensor.dtype) != is_complex(other.tensor.dtype)) {
      out.differences.push_back(
          {name, fmt::format("{} and {}", name_of(t.tensor.dtype), name_of(other.tensor.dtype))});
      continue;
    }
    TensorDifference d = compare_values(t, other);
    if (d.elements == 0) {
      ++out.same;
      if (t.tensor.dtype != other.tensor.dtype)
        out.other_dtype.push_back(fmt::format("{}: {} and {}", printable(name),
                                              name_of(t.tensor.dtype),
                                              name_of(other.tensor.dtype)));
      continue;
    }
    d.name = name;
    d.what = fmt::format("{} of {} elements differ, by {:.6g} at most, from element {} on",
                         d.elements, t.tensor.count(), d.largest, d.first);
    out.differences.push_back(std::move(d));
  }
  for (const NamedTensor& t : b.weights.tensors)
    if (others.contains(strip_orig_mod(t.name)))
      out.differences.push_back({strip_orig_mod(t.name), "only in the second"});
  return out;
}

}  // namespace trm
