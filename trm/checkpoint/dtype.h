// Element types that checkpoint files hold, with their names in each format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace trm {

enum class DType : uint8_t {
  bool_,
  uint8,
  uint16,
  uint32,
  uint64,
  int8,
  int16,
  int32,
  int64,
  float16,
  bfloat16,
  float32,
  float64,
  complex32,
  complex64,
  complex128,
  float8_e4m3fn,
  float8_e4m3fnuz,
  float8_e5m2,
  float8_e5m2fnuz,
  float8_e8m0fnu,
  qint8,
  quint8,
  qint32,
};
inline constexpr size_t kDTypes = 24;

struct DTypeInfo {
  const char* name;         // torch's, without "torch."
  const char* npy;          // NumPy descriptor, nullptr: none
  const char* safetensors;  // nullptr: none
  const char* storage;      // torch's storage class for it, nullptr: none
  uint8_t size;             // bytes
  uint8_t part;             // bytes of what endianness swaps (half of a complex number)
};

const DTypeInfo& info(DType dtype);
inline size_t size_of(DType dtype) { return info(dtype).size; }
inline const char* name_of(DType dtype) { return info(dtype).name; }
bool is_float8(DType dtype);
bool is_complex(DType dtype);
bool is_quantized(DType dtype);

std::optional<DType> dtype_of_name(std::string_view torch_name);
std::optional<DType> dtype_of_safetensors(std::string_view name);
std::optional<DType> dtype_of_storage(std::string_view storage_class);

}  // namespace trm
