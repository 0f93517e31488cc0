#include "trm/checkpoint/dtype.h"

namespace trm {

namespace {
// In the order of the enumeration. bfloat16 in npy is '<V2', as MLX's Python writes it.
constexpr DTypeInfo kTable[kDTypes] = {
    {"bool", "|b1", "BOOL", "BoolStorage", 1, 1},
    {"uint8", "|u1", "U8", "ByteStorage", 1, 1},
    {"uint16", "<u2", "U16", nullptr, 2, 2},
    {"uint32", "<u4", "U32", nullptr, 4, 4},
    {"uint64", "<u8", "U64", nullptr, 8, 8},
    {"int8", "|i1", "I8", "CharStorage", 1, 1},
    {"int16", "<i2", "I16", "ShortStorage", 2, 2},
    {"int32", "<i4", "I32", "IntStorage", 4, 4},
    {"int64", "<i8", "I64", "LongStorage", 8, 8},
    {"float16", "<f2", "F16", "HalfStorage", 2, 2},
    {"bfloat16", "<V2", "BF16", "BFloat16Storage", 2, 2},
    {"float32", "<f4", "F32", "FloatStorage", 4, 4},
    {"float64", "<f8", "F64", "DoubleStorage", 8, 8},
    {"complex32", nullptr, nullptr, nullptr, 4, 2},
    {"complex64", "<c8", "C64", "ComplexFloatStorage", 8, 4},
    {"complex128", "<c16", nullptr, "ComplexDoubleStorage", 16, 8},
    {"float8_e4m3fn", nullptr, "F8_E4M3", nullptr, 1, 1},
    {"float8_e4m3fnuz", nullptr, "F8_E4M3FNUZ", nullptr, 1, 1},
    {"float8_e5m2", nullptr, "F8_E5M2", nullptr, 1, 1},
    {"float8_e5m2fnuz", nullptr, "F8_E5M2FNUZ", nullptr, 1, 1},
    {"float8_e8m0fnu", nullptr, "F8_E8M0", nullptr, 1, 1},
    {"qint8", nullptr, nullptr, "QInt8Storage", 1, 1},
    {"quint8", nullptr, nullptr, "QUInt8Storage", 1, 1},
    {"qint32", nullptr, nullptr, "QInt32Storage", 4, 4},
};

std::optional<DType> find(const char* DTypeInfo::*field, std::string_view name) {
  for (size_t i = 0; i < kDTypes; ++i)
    if (kTable[i].*field && name == kTable[i].*field) return static_cast<DType>(i);
  return {};
}
}  // namespace

const DTypeInfo& info(DType dtype) { return kTable[static_cast<size_t>(dtype)]; }

bool is_float8(DType d) { return d >= DType::float8_e4m3fn && d <= DType::float8_e8m0fnu; }
bool is_complex(DType d) { return d >= DType::complex32 && d <= DType::complex128; }
bool is_quantized(DType d) { return d >= DType::qint8; }

std::optional<DType> dtype_of_name(std::string_view name) {
  // torch keeps its C names beside these.
  constexpr std::pair<std::string_view, DType> kAliases[] = {
      {"half", DType::float16},     {"float", DType::float32},      {"double", DType::float64},
      {"short", DType::int16},      {"int", DType::int32},          {"long", DType::int64},
      {"cfloat", DType::complex64}, {"cdouble", DType::complex128}, {"chalf", DType::complex32},
  };
  for (auto& [alias, dtype] : kAliases)
    if (name == alias) return dtype;
  return find(&DTypeInfo::name, name);
}
std::optional<DType> dtype_of_safetensors(std::string_view n) {
  return find(&DTypeInfo::safetensors, n);
}
std::optional<DType> dtype_of_storage(std::string_view n) { return find(&DTypeInfo::storage, n); }

}  // namespace trm
