// A tensor of a checkpoint file: where its bytes are and how they are laid out. Nothing is read
// yet.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "trm/checkpoint/dtype.h"
#include "trm/checkpoint/limits.h"
#include "trm/io/byte_source.h"

namespace trm {

struct Tensor;
using TensorPtr = std::shared_ptr<const Tensor>;

/// value = (integer - zero_point) * scale; one pair, or one an index of `axis`.
struct Quantization {
  double scale = 1;
  int64_t zero_point = 0;
  TensorPtr scales, zero_points;  // per channel: 1-d, length shape[axis]
  uint64_t axis = 0;
};

struct Tensor {
  DType dtype = DType::float32;
  std::vector<uint64_t> shape;
  std::vector<uint64_t> strides;  // in elements
  uint64_t offset = 0;            // in elements of dtype
  Region storage;
  uint64_t storage_id = 0;  // equal for tensors that share their storage
  bool swapped = false;     // bytes are big-endian
  bool conjugate = false, negative = false;
  std::shared_ptr<const Quantization> quantization;

  uint64_t count() const;  // elements; cannot wrap once check_tensor() passed
};

struct NamedTensor {
  std::string name;
  Tensor tensor;
};

/// Row-major strides of `shape`.
std::vector<uint64_t> row_major(const std::vector<uint64_t>& shape);

/// a * b, or an error that names `what`.
uint64_t checked_product(uint64_t a, uint64_t b, const char* what);
/// Product of `shape`.
uint64_t checked_count(const std::vector<uint64_t>& shape);

/// Throws std::runtime_error unless rank, size and every element's place are within the limits and
/// the storage. All later arithmetic on the tensor relies on it.
void check_tensor(const Tensor& tensor, const Limits& limits);

/// "(512, 97)" or "()".
std::string shape_text(const std::vector<uint64_t>& shape);

/// Copies elements [first, first + count) in row-major order to `out`, in the tensor's dtype and
/// this machine's byte order, conj and neg applied. Reads strided data in blocks, within 24 MiB of
/// memory.
void read_elements(const Tensor& tensor, uint64_t first, uint64_t count, void* out);

}  // namespace trm
