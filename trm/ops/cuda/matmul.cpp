#include "trm/ops/cuda/matmul.h"

#include <map>
#include <mutex>
#include <stdexcept>
#include <tuple>

#include <cublasLt.h>
#include <fmt/format.h>

namespace trm::ops::cuda {
namespace {

void check(cublasStatus_t status) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw std::runtime_error(fmt::format("[cuda] cuBLASLt: {}", cublasLtGetStatusString(status)));
}

cublasLtHandle_t handle() {
  static cublasLtHandle_t h = [] {
    cublasLtHandle_t made;
    check(cublasLtCreate(&made));
    return made;
  }();
  return h;
}

// What cuBLASLt needs for one product, made once and kept.
struct Plan {
  cublasLtMatmulDesc_t operation;
  cublasLtMatrixLayout_t a, b, out;
  cublasLtMatmulAlgo_t algorithm;
};

cublasLtMatrixLayout_t layout(cudaDataType_t type, int64_t rows, int64_t columns) {
  cublasLtMatrixLayout_t made;
  check(cublasLtMatrixLayoutCreate(&made, type, static_cast<uint64_t>(rows),
                                   static_cast<uint64_t>(columns), rows));
  return made;
}

// cuBLASLt is column-major: a row-major product is the product of the transposes in reverse order.
Plan make_plan(int64_t m, int64_t n, int64_t k, bool a_transposed, bool b_transposed, bool wide) {
  Plan p{};
  check(cublasLtMatmulDescCreate(&p.operation, CUBLAS_COMPUTE_32F, CUDA_R_32F));
  cublasOperation_t first = b_transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
  cublasOperation_t second = a_transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
  check(cublasLtMatmulDescSetAttribute(p.operation, CUBLASLT_MATMUL_DESC_TRANSA, &first,
                                       sizeof first));
  check(cublasLtMatmulDescSetAttribute(p.operation, CUBLASLT_MATMUL_DESC_TRANSB, &second,
                                       sizeof second));
  p.b = b_transposed ? layout(CUDA_R_16BF, k, n) : layout(CUDA_R_16BF, n, k);
  p.a = a_transposed ? layout(CUDA_R_16BF, m, k) : layout(CUDA_R_16BF, k, m);
  p.out = layout(wide ? CUDA_R_32F : CUDA_R_16BF, n, m);
  cublasLtMatmulPreference_t preference;
  check(cublasLtMatmulPreferenceCreate(&preference));
  size_t scratch = kMatmulScratch;
  uint32_t alignment = 16;
  check(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                             &scratch, sizeof scratch));
  for (auto which :
       {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
    check(cublasLtMatmulPreferenceSetAttribute(preference, which, &alignment, sizeof alignment));
  }
  cublasLtMatmulHeuristicResult_t best{};
  int found = 0;
  auto status = cublasLtMatmulAlgoGetHeuristic(handle(), p.operation, p.b, p.a, p.out, p.out,
                                               preference, 1, &best, &found);
  cublasLtMatmulPreferenceDestroy(preference);
  check(status);
  if (found == 0) {
    throw std::runtime_error(
        fmt::format("[cuda] cuBLASLt has no algorithm for a {} x {} x {} product", m, n, k));
  }
  p.algorithm = best.algo;
  return p;
}

}  // namespace

void matmul(int64_t m, int64_t n, int64_t k, Operand a, Operand b, const void* c, void* out,
            bool wide, void* scratch, cudaStream_t stream) {
  using Key = std::tuple<int64_t, int64_t, int64_t, bool, bool, bool>;
  static std::mutex mutex;
  static auto* plans = new std::map<Key, Plan>;
  std::lock_guard lock(mutex);
  Key key{m, n, k, a.transposed, b.transposed, wide};
  auto found = plans->find(key);
  if (found == plans->end()) {
    found = plans->emplace(key, make_plan(m, n, k, a.transposed, b.transposed, wide)).first;
  }
  auto& p = found->second;
  float one = 1, beta = c ? 1 : 0;
  check(cublasLtMatmul(handle(), p.operation, &one, b.data, p.b, a.data, p.a, &beta, c ? c : out,
                       p.out, out, p.out, &p.algorithm, scratch, kMatmulScratch, stream));
}

}  // namespace trm::ops::cuda
