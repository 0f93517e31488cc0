#if defined(__AVX512BF16__)
#define TRM_LANES 16
#define TRM_ROWS 14
#define TRM_NATIVE_BF16
#include "trm/ops/cpu/kernels_inl.h"

namespace trm::ops::cpu {
extern const Kernels kernels_avx512bf16[2];
const Kernels kernels_avx512bf16[2] = {table<false>("avx512bf16"), table<true>("avx512bf16")};
}  // namespace trm::ops::cpu
#endif
