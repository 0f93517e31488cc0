#include "trm/checkpoint/tensor.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <span>

#include "trm/io/text.h"

namespace trm {

static_assert(std::endian::native == std::endian::little, "files are read as little-endian");

uint64_t Tensor::count() const {
  uint64_t n = 1;
  for (uint64_t d : shape) n *= d;
  return n;
}

std::vector<uint64_t> row_major(const std::vector<uint64_t>& shape) {
  std::vector<uint64_t> strides(shape.size());
  uint64_t step = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    strides[i] = step;
    step *= std::max<uint64_t>(shape[i], 1);
  }
  return strides;
}

uint64_t checked_product(uint64_t a, uint64_t b, const char* what) {
  uint64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) fail("[tensor] {} overflows 64 bits", what);
  return product;
}

uint64_t checked_count(const std::vector<uint64_t>& shape) {
  // A zero makes the product zero, yet the others must not wrap (strides are made of them).
  uint64_t n = 1;
  bool empty = false;
  for (uint64_t d : shape) {
    empty = empty || d == 0;
    n = checked_product(n, std::max<uint64_t>(d, 1), "the number of elements");
  }
  return empty ? 0 : n;
}

void check_tensor(const Tensor& t, const Limits& limits) {
  if (t.shape.size() > limits.max_rank)
    fail("[tensor] {} dimensions are more than {} (--max-rank)", t.shape.size(), limits.max_rank);
  if (t.shape.size() != t.strides.size())
    fail("[tensor] {} dimensions but {} strides", t.shape.size(), t.strides.size());
  uint64_t n = checked_count(t.shape);
  // Sparse and quantized tensors grow to float32 at most; float64 stays 8 bytes.
  if (checked_product(n, std::max<uint64_t>(size_of(t.dtype), 4), "the size") >
      limits.max_tensor_bytes)
    fail("[tensor] shape {} of {} is beyond {} bytes (--max-tensor-bytes)", shape_text(t.shape),
         name_of(t.dtype), limits.max_tensor_bytes);
  uint64_t capacity = t.storage.size / size_of(t.dtype);
  uint64_t last = t.offset;
  if (n == 0) return;
  for (size_t i = 0; i < t.shape.size(); ++i) {
    uint64_t reach = checked_product(t.shape[i] - 1, t.strides[i], "an element's place");
    if (__builtin_add_overflow(last, reach, &last))
      fail("[tensor] an element's place overflows 64 bits");
  }
  if (last >= capacity)
    fail("[tensor] element {} is needed, but the storage holds {}", last, capacity);
}

std::string shape_text(const std::vector<uint64_t>& shape) {
  return shape.size() == 1 ? fmt::format("({},)", shape[0])
                           : fmt::format("({})", fmt::join(shape, ", "));
}

namespace {

struct Dim {
  uint64_t size, from, to;  // strides in elements: in the storage, in the output
};

/// Drops dimensions of size 1 and joins neighbours that continue each other.
std::vector<Dim> joined(const Tensor& t) {
  std::vector<Dim> dims;
  for (size_t i = 0; i < t.shape.size(); ++i) {
    if (t.shape[i] == 1) continue;
    if (!dims.empty() && dims.back().from == t.strides[i] * t.shape[i]) {
      dims.back() = {dims.back().size * t.shape[i], t.strides[i], 0};
    } else {
      dims.push_back({t.shape[i], t.strides[i], 0});
    }
  }
  uint64_t step = 1;
  for (size_t i = dims.size(); i-- > 0;) {
    dims[i].to = step;
    step *= dims[i].size;
  }
  return dims;
}

template <size_t N>
void copy_items(const std::byte* in, uint64_t in_step, std::byte* out, uint64_t out_step,
                uint64_t n) {
  for (uint64_t i = 0; i < n; ++i) memcpy(out + i * out_step * N, in + i * in_step * N, N);
}

void copy_run(const std::byte* in, uint64_t in_step, std::byte* out, uint64_t out_step, uint64_t n,
              size_t item) {
  if (in_step == 1 && out_step == 1) {
    memcpy(out, in, n * item);
    return;
  }
  switch (item) {
    case 1:
      return copy_items<1>(in, in_step, out, out_step, n);
    case 2:
      return copy_items<2>(in, in_step, out, out_step, n);
    case 4:
      return copy_items<4>(in, in_step, out, out_step, n);
    case 8:
      return copy_items<8>(in, in_step, out, out_step, n);
    default:
      return copy_items<16>(in, in_step, out, out_step, n);
  }
}

/// Steps an index over `dims` (last one fastest); false after the last.
bool advance(std::vector<uint64_t>& index, std::span<const Dim> dims, uint64_t& from,
             uint64_t& to) {
  for (size_t d = dims.size(); d-- > 0;) {
    from += dims[d].from;
    to += dims[d].to;
    if (++index[d] < dims[d].size) return true;
    from -= dims[d].from * dims[d].size;
    to -= dims[d].to * dims[d].size;
    index[d] = 0;
  }
  return false;
}

/// Copies a box of elements. The outer dimensions (largest strides first) are walked; the inner
/// ones are read as one piece of the storage, as far as that is dense and small.
void gather_box(const Tensor& t, std::vector<Dim> dims, uint64_t base, std::byte* out) {
  constexpr uint64_t kPiece = 8 << 20;
  static thread_local std::vector<std::byte> piece;
  const size_t item = size_of(t.dtype);
  std::stable_sort(dims.begin(), dims.end(),
                   [](const Dim& a, const Dim& b) { return a.from > b.from; });
  size_t inner = dims.size();
  uint64_t extent = 1, elements = 1;
  while (inner > 0) {
    const Dim& d = dims[inner - 1];
    uint64_t wider = extent + (d.size - 1) * d.from;
    bool dense = wider / 8 <= elements * d.size || wider * item <= 65536;
    if (!dense || wider > kPiece / item) break;
    extent = wider;
    elements *= d.size;
    --inner;
  }
  std::span<const Dim> walked(dims.data(), inner), read(dims.data() + inner, dims.size() - inner);
  // One long run inside the piece is copied at once: the last dimension if it is among those read.
  Dim run = read.empty() ? Dim{1, 1, 1} : read.back();
  if (!read.empty()) read = read.first(read.size() - 1);
  piece.resize(std::max<size_t>(piece.size(), extent * item));
  std::vector<uint64_t> outer_index(walked.size()), inner_index(read.size());
  uint64_t from = base, to = 0;
  do {
    t.storage.read(from * item, piece.data(), extent * item);
    uint64_t in = 0, place = to;
    do {
      copy_run(piece.data() + in * item, run.from, out + place * item, run.to, run.size, item);
    } while (advance(inner_index, read, in, place));
  } while (advance(outer_index, walked, from, to));
}

/// Copies [first, first + count) of the joined dimensions as boxes that span their trailing ones.
void gather(const Tensor& t, const std::vector<Dim>& dims, uint64_t first, uint64_t count,
            std::byte* out) {
  const size_t item = size_of(t.dtype);
  while (count > 0) {
    uint64_t base = t.offset, rest = first, inner = 1;
    std::vector<uint64_t> index(dims.size());
    for (size_t d = 0; d < dims.size(); ++d) {
      index[d] = rest / dims[d].to;
      rest %= dims[d].to;
      base += index[d] * dims[d].from;
    }
    // The outermost dimension whose inner ones start at zero and fit whole.
    size_t d = dims.size();
    while (d > 0 && (d == dims.size() || index[d] == 0) &&
           (d == dims.size() || dims[d - 1].to <= count)) {
      --d;
    }
    inner = dims[d].to;
    uint64_t n = std::min(dims[d].size - index[d], count / inner);
    std::vector<Dim> box(dims.begin() + static_cast<ptrdiff_t>(d), dims.end());
    box[0].size = n;
    gather_box(t, std::move(box), base, out);
    first += n * inner;
    count -= n * inner;
    out += n * inner * item;
  }
}

template <class T>
void swap_parts(std::byte* data, uint64_t n) {
  for (uint64_t i = 0; i < n; ++i, data += sizeof(T)) {
    T value;
    memcpy(&value, data, sizeof value);
    if constexpr (sizeof(T) == 2) value = __builtin_bswap16(value);
    if constexpr (sizeof(T) == 4) value = __builtin_bswap32(value);
    if constexpr (sizeof(T) == 8) value = __builtin_bswap64(value);
    memcpy(data, &value, sizeof value);
  }
}

template <class T>
void negate_integers(std::byte* data, uint64_t n) {
  for (uint64_t i = 0; i < n; ++i, data += sizeof(T)) {
    T value;
    memcpy(&value, data, sizeof value);
    value = static_cast<T>(T{0} - value);
    memcpy(data, &value, sizeof value);
  }
}

/// Flips the sign bit of every `step`-th part from `begin` on.
void flip_signs(std::byte* data, uint64_t parts, size_t part, uint64_t begin, uint64_t step) {
  for (uint64_t i = begin; i < parts; i += step) data[i * part + part - 1] ^= std::byte{0x80};
}

void negate(DType dtype, std::byte* data, uint64_t n) {
  const size_t part = info(dtype).part, parts = n * (size_of(dtype) / part);
  bool real = dtype >= DType::float16;
  if (real) return flip_signs(data, parts, part, 0, 1);
  switch (part) {
    case 1:
      return negate_integers<uint8_t>(data, n);
    case 2:
      return negate_integers<uint16_t>(data, n);
    case 4:
      return negate_integers<uint32_t>(data, n);
    default:
      return negate_integers<uint64_t>(data, n);
  }
}

}  // namespace

void read_elements(const Tensor& t, uint64_t first, uint64_t count, void* out) {
  if (count == 0) return;
  auto* data = static_cast<std::byte*>(out);
  const size_t item = size_of(t.dtype), part = info(t.dtype).part;
  std::vector<Dim> dims = joined(t);
  if (dims.empty() || (dims.size() == 1 && dims[0].from == 1)) {
    t.storage.read((t.offset + first) * item, data, count * item);
  } else {
    gather(t, dims, first, count, data);
  }
  if (t.dtype == DType::bool_)  // another byte than 0 and 1 is no bool to C++
    for (uint64_t i = 0; i < count; ++i) data[i] = std::byte{data[i] != std::byte{0}};
  uint64_t parts = count * (item / part);
  if (t.swapped) {
    if (part == 2) swap_parts<uint16_t>(data, parts);
    if (part == 4) swap_parts<uint32_t>(data, parts);
    if (part == 8) swap_parts<uint64_t>(data, parts);
  }
  if (t.conjugate && is_complex(t.dtype)) flip_signs(data, parts, part, 1, 2);
  if (t.negative) negate(t.dtype, data, count);
}

}  // namespace trm
