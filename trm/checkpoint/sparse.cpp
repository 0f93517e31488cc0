#include "trm/checkpoint/sparse.h"

#include <cstring>

#include "trm/checkpoint/values.h"
#include "trm/io/text.h"

namespace trm {

namespace {

/// A zeroed dense tensor of `dtype`, as bytes to fill.
std::vector<std::byte> zeros(DType dtype, const std::vector<uint64_t>& shape, const Limits& limits,
                             uint64_t& used) {
  uint64_t bytes = checked_product(checked_count(shape), size_of(dtype), "the size");
  if (bytes > limits.max_dense_bytes || used > limits.max_dense_bytes - bytes)
    fail("[torch] sparse tensors of {} bytes when dense are more than {} (--max-dense-bytes)",
         used + bytes, limits.max_dense_bytes);
  used += bytes;
  return std::vector<std::byte>(bytes);
}

Tensor dense(DType dtype, const std::vector<uint64_t>& shape, std::vector<std::byte> bytes,
             const Limits& limits) {
  Tensor t;
  t.dtype = dtype;
  t.shape = shape;
  t.strides = row_major(shape);
  t.storage = whole(memory_source(std::move(bytes)));
  t.storage_id = reinterpret_cast<uintptr_t>(t.storage.source.get());
  check_tensor(t, limits);
  return t;
}

std::vector<int64_t> integers(const Tensor& t, uint64_t expected, const char* what) {
  if (t.dtype != DType::int64 && t.dtype != DType::int32)
    fail("[torch] damaged: {} of {}", what, name_of(t.dtype));
  if (t.count() != expected)
    fail("[torch] damaged: {} has {} elements, not {}", what, t.count(), expected);
  // The storage bounds an honest tensor; an expanded one could ask for more than there is.
  if (expected > t.storage.size / size_of(t.dtype))
    fail("[torch] damaged: {} repeats its elements", what);
  std::vector<int64_t> out(expected);
  if (t.dtype == DType::int64) {
    read_elements(t, 0, expected, out.data());
  } else {
    std::vector<int32_t> narrow(expected);
    read_elements(t, 0, expected, narrow.data());
    out.assign(narrow.begin(), narrow.end());
  }
  return out;
}

std::vector<std::byte> all_values(const Tensor& values) {
  if (is_quantized(values.dtype)) fail("[torch] sparse quantized tensors cannot be converted");
  if (values.count() > values.storage.size / size_of(values.dtype))
    fail("[torch] damaged: a sparse tensor's values repeat");
  std::vector<std::byte> bytes(values.count() * size_of(values.dtype));
  read_elements(values, 0, values.count(), bytes.data());
  return bytes;
}

}  // namespace

Tensor dense_from_coo(const Tensor& indices, const Tensor& values,
                      const std::vector<uint64_t>& shape, const Limits& limits, uint64_t& used) {
  if (indices.shape.size() != 2 || values.shape.empty() || values.shape[0] != indices.shape[1])
    fail("[torch] damaged: a sparse tensor whose indices {} and values {} do not fit",
         shape_text(indices.shape), shape_text(values.shape));
  uint64_t sparse_dims = indices.shape[0], n = indices.shape[1];
  if (sparse_dims + values.shape.size() - 1 != shape.size())
    fail("[torch] damaged: a sparse tensor of wrong rank");
  for (size_t d = 1; d < values.shape.size(); ++d)
    if (values.shape[d] != shape[sparse_dims + d - 1])
      fail("[torch] damaged: a sparse tensor's values do not fit its shape");
  auto out = zeros(values.dtype, shape, limits, used);
  auto strides = row_major(shape);
  auto index = integers(indices, sparse_dims * n, "a sparse tensor's indices");
  auto data = all_values(values);
  uint64_t block = n == 0 ? 0 : values.count() / n, item = size_of(values.dtype);
  for (uint64_t i = 0; i < n; ++i) {
    uint64_t place = 0;
    for (uint64_t d = 0; d < sparse_dims; ++d) {
      auto at = index[d * n + i];
      if (at < 0 || static_cast<uint64_t>(at) >= shape[d])
        fail("[torch] damaged: a sparse tensor's index {} is outside dimension {} of {}", at, d,
             shape[d]);
      place += static_cast<uint64_t>(at) * strides[d];
    }
    if (block > 0)
      add_elements(values.dtype, out.data() + place * item, data.data() + i * block * item, block);
  }
  return dense(values.dtype, shape, std::move(out), limits);
}

Tensor dense_from_compressed(const Tensor& compressed, const Tensor& plain, const Tensor& values,
                             const std::vector<uint64_t>& shape, bool by_column,
                             const Limits& limits, uint64_t& used) {
  if (shape.size() != 2 || values.shape.size() != 1)
    fail(
        "[torch] only sparse matrices without batch or dense dimensions can be converted from CSR "
        "and CSC");
  auto out = zeros(values.dtype, shape, limits, used);
  uint64_t lines = shape[by_column ? 1 : 0], across = shape[by_column ? 0 : 1], n = values.shape[0];
  auto ends = integers(compressed, lines + 1, "a sparse tensor's row pointers");
  auto places = integers(plain, n, "a sparse tensor's column indices");
  auto data = all_values(values);
  uint64_t item = size_of(values.dtype);
  if (ends[0] != 0 || ends[lines] != static_cast<int64_t>(n))
    fail("[torch] damaged: a sparse tensor's row pointers");
  for (uint64_t line = 0; line < lines; ++line) {
    if (ends[line + 1] < ends[line] || ends[line + 1] > static_cast<int64_t>(n))
      fail("[torch] damaged: a sparse tensor's row pointers");
    for (auto k = static_cast<uint64_t>(ends[line]); k < static_cast<uint64_t>(ends[line + 1]);
         ++k) {
      if (places[k] < 0 || static_cast<uint64_t>(places[k]) >= across)
        fail("[torch] damaged: a sparse tensor's index {} is outside {}", places[k], across);
      auto at = static_cast<uint64_t>(places[k]);
      uint64_t place = by_column ? at * shape[1] + line : line * shape[1] + at;
      add_elements(values.dtype, out.data() + place * item, data.data() + k * item, 1);
    }
  }
  return dense(values.dtype, shape, std::move(out), limits);
}

}  // namespace trm
