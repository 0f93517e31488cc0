// Sparse tensors made dense.
#pragma once

#include "trm/checkpoint/tensor.h"

namespace trm {

/// COO: indices (sparse dims, n) int64, values (n, dense dims...); equal coordinates add up.
/// `used` counts the bytes of all such tensors against max_dense_bytes.
Tensor dense_from_coo(const Tensor& indices, const Tensor& values,
                      const std::vector<uint64_t>& shape, const Limits& limits, uint64_t& used);

/// CSR (or CSC, `by_column`) of a matrix: compressed (rows + 1), plain (n), values (n).
Tensor dense_from_compressed(const Tensor& compressed, const Tensor& plain, const Tensor& values,
                             const std::vector<uint64_t>& shape, bool by_column,
                             const Limits& limits, uint64_t& used);

}  // namespace trm
