#define TRM_LANES 4
#define TRM_ROWS 6
#include "trm/ops/cpu/kernels_inl.h"

namespace trm::ops::cpu {
extern const Kernels kernels_generic[2];
const Kernels kernels_generic[2] = {table<false>("generic"), table<true>("generic")};
}  // namespace trm::ops::cpu
