#include "trm/io/shipped_model.h"

#include <cstdlib>
#include <vector>

#ifdef __APPLE__
#include <mach-o/dyld.h>
#endif

namespace trm {

namespace fs = std::filesystem;

fs::path program_folder() {
  std::error_code error;
#ifdef __APPLE__
  char path[4096];
  uint32_t size = sizeof path;
  if (_NSGetExecutablePath(path, &size) != 0) return {};
  return fs::canonical(path, error).parent_path();
#else
  return fs::read_symlink("/proc/self/exe", error).parent_path();
#endif
}

std::optional<fs::path> shipped_model(const std::string& name) {
  std::vector<fs::path> folders;
  if (const char* given = std::getenv("TRM_MODELS"); given && *given) folders.push_back(given);
  if (auto here = program_folder(); !here.empty()) {
    folders.push_back(here / "../share/trm/models");
    for (auto up : {"..", "../.."}) {  // build/trm, build/debug/trm
      std::error_code error;
      if (fs::exists(here / up / "CMakePresets.json", error))
        folders.push_back(here / up / "models");
    }
  }
  for (auto& folder : folders) {
    std::error_code error;
    auto file = (folder / name).lexically_normal();
    if (fs::is_regular_file(file, error)) return file;
  }
  return std::nullopt;
}

}  // namespace trm
