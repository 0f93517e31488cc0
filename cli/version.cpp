// trm --version: the program, and what it runs on.
#include <dlfcn.h>
#include <fmt/format.h>

#include "cli/commands.h"
#include "trm/mlx.h"
#include "trm/ops/cpu/threads.h"

namespace trm::cli {

namespace {

std::string blas() {
#ifdef __APPLE__
  return "Accelerate";
#else
  // OpenBLAS is linked ahead of MLX; without it MLX would bind to the BLAS of its wheel.
  auto config = reinterpret_cast<char* (*)()>(dlsym(RTLD_DEFAULT, "openblas_get_config"));
  return config ? config() : "the one of MLX (slow: OpenBLAS is missing)";
#endif
}

}  // namespace

std::string version() {
  bool gpu = mx::is_available(mx::Device::gpu);
  return fmt::format("trm {}\nMLX {}\ndevices: {}CPU ({} threads)\nBLAS: {}", TRM_VERSION,
                     mx::version(), gpu ? "GPU, " : "", ops::threads(), blas());
}

}  // namespace trm::cli
