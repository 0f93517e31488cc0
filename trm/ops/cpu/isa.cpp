#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

#include "trm/ops/cpu/kernels.h"

#if defined(__x86_64__) && defined(__linux__)
#define TRM_AMX
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace trm::ops::cpu {

extern const Kernels kernels_generic[2];
#if defined(__x86_64__)
extern const Kernels kernels_avx512bf16[2], kernels_avx512[2], kernels_avx2[2];
#endif
#if defined(TRM_AMX)
extern const Kernels kernels_amx[2];
#endif

namespace {

#if defined(TRM_AMX)
// Whether the processor has tiles with bfloat16 and integer products and the system lets this
// process, with all threads it will start, use them.
bool amx() {
  unsigned a, b, c, d;
  constexpr unsigned needed = 1u << 22 | 1u << 24 | 1u << 25;  // bfloat16, tile, int8
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & needed) != needed) return false;
  constexpr int req_xcomp_perm = 0x1023, xtiledata = 18;  // asm/prctl.h, since Linux 5.16
  return syscall(SYS_arch_prctl, req_xcomp_perm, xtiledata) == 0;
}
#endif

struct Tables {
  const Kernels* of[2][6] = {};  // [bfloat16], fastest first, null-terminated
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
    bool bfloat16 = avx512 && __builtin_cpu_supports("avx512bf16");
#if defined(TRM_AMX)
    if (bfloat16 && amx()) add(kernels_amx);
#endif
    if (bfloat16) add(kernels_avx512bf16);
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

const Kernels*& in_use() {
  static const Kernels* pair = tables().of[0][chosen()];
  return pair;
}

}  // namespace

const Kernels& kernels(bool bfloat16) { return in_use()[bfloat16]; }

void use_kernels(const Kernels* pair) { in_use() = pair; }

const Kernels* const* all_kernels(bool bfloat16) { return tables().of[bfloat16]; }

}  // namespace trm::ops::cpu
