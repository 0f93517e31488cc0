#if defined(__AVX512F__)
#define TRM_LANES 16
#define TRM_ROWS 14
#include "trm/ops/cpu/kernels_inl.h"

namespace trm::ops::cpu {
extern const Kernels kernels_avx512[2];
const Kernels kernels_avx512[2] = {table<false>("avx512"), table<true>("avx512")};
}  // namespace trm::ops::cpu
#endif
