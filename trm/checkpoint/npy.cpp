#include "trm/checkpoint/npy.h"

#include <tuple>

#include "trm/io/npy_header.h"
#include "trm/io/text.h"

namespace trm {

std::optional<std::pair<DType, bool>> dtype_of_npy(std::string_view descriptor) {
  if (descriptor.size() < 3) return {};
  char order = descriptor[0];
  if (order != '<' && order != '>' && order != '|' && order != '=') return {};
  std::string_view type = descriptor.substr(1);
  for (size_t i = 0; i < kDTypes; ++i) {
    auto dtype = static_cast<DType>(i);
    if (!info(dtype).npy || type != info(dtype).npy + 1) continue;
    if (order == '|' && size_of(dtype) > 1 && dtype != DType::bfloat16) return {};
    return std::pair{dtype, order == '>' && size_of(dtype) > 1};
  }
  return {};
}

std::vector<uint64_t> column_major(const std::vector<uint64_t>& shape) {
  std::vector<uint64_t> strides(shape.size());
  uint64_t step = 1;
  for (size_t i = 0; i < shape.size(); ++i) {
    strides[i] = step;
    step *= shape[i] == 0 ? 1 : shape[i];
  }
  return strides;
}

Tensor read_npy(const Region& record, const Limits& limits) {
  std::string head(std::min<uint64_t>(record.size, 12), '\0');
  record.read(0, head.data(), head.size());
  auto place = npy_place(head, limits.max_header_bytes, "[npy]");
  auto text = record.sub(place.begin, place.length).all();
  auto description =
      parse_npy_description({reinterpret_cast<const char*>(text.data()), text.size()}, "[npy]");
  auto type = dtype_of_npy(description.descr);
  if (!type) fail("[npy] arrays of type {} cannot be converted", printable(description.descr));
  Tensor t;
  std::tie(t.dtype, t.swapped) = *type;
  t.shape = description.shape;
  uint64_t expected = checked_product(checked_count(t.shape), size_of(t.dtype), "the size");
  t.strides = description.fortran_order ? column_major(t.shape) : row_major(t.shape);
  uint64_t data = place.begin + place.length;
  if (record.size - data != expected)
    fail(
        "[npy] shape {} of {} takes {} bytes, but {} follow the header: the file is cut off or "
        "damaged",
        shape_text(t.shape), name_of(t.dtype), expected, record.size - data);
  t.storage = record.sub(data, expected);
  t.storage_id = t.storage.offset;
  check_tensor(t, limits);
  return t;
}

std::string npy_header(DType dtype, const std::vector<uint64_t>& shape) {
  if (!info(dtype).npy) fail("[npy] {} has no place in .npy files", name_of(dtype));
  return npy_header_text(info(dtype).npy, shape);
}

}  // namespace trm
