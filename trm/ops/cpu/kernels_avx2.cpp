#if defined(__AVX2__)
#define TRM_LANES 8
#define TRM_ROWS 6
#include "trm/ops/cpu/kernels_inl.h"

namespace trm::ops::cpu {
extern const Kernels kernels_avx2[2];
const Kernels kernels_avx2[2] = {table<false>("avx2"), table<true>("avx2")};
}  // namespace trm::ops::cpu
#endif
