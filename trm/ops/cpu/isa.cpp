#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

#include "trm/ops/cpu/kernels.h"

namespace trm::ops::cpu {

extern const Kernels kernels_generic[2];
#if defined(__x86_64__)
extern const Kernels kernels_avx512bf16[2], kernels_avx512[2], kernels_avx2[2];
#endif

namespace {

struct Tables {
  const Kernels* of[2][5] = {};  // [bfloat16], fastest first, null-terminated
  int count = 0;

  void add(const Kernels* pair) {
    of[0][count] = &pair[0];
    of[1][count++] = &pair[1];
  }

  Tables() {
#if defined(__x86_64__)
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (avx512 && __builtin_cpu_supports("avx512bf16")) add(kernels_avx512bf16);
    if (avx512) add(kernels_avx512);
    if (avx2) add(kernels_avx2);
#endif
    add(kernels_generic);
  }
};

const Tables& tables() {
  static const Tables value;
  return value;
}

int chosen() {
  const char* name = std::getenv("TRM_ISA");
  if (!name || !*name) return 0;
  for (int i = 0; i < tables().count; ++i) {
    if (std::strcmp(name, tables().of[0][i]->name) == 0) return i;
  }
  throw std::invalid_argument(
      std::string("[ops] TRM_ISA is not one this processor runs; it runs ") + [] {
        std::string names;
        for (int i = 0; i < tables().count; ++i) {
          names += std::string(i ? ", " : "") + tables().of[0][i]->name;
        }
        return names;
      }());
}

}  // namespace

const Kernels& kernels(bool bfloat16) {
  static const int index = chosen();
  return *tables().of[bfloat16][index];
}

const Kernels* const* all_kernels(bool bfloat16) { return tables().of[bfloat16]; }

}  // namespace trm::ops::cpu
