#include "trm/train/run_folder.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <stdexcept>

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/file.h>
#include <unistd.h>

namespace trm {

namespace fs = std::filesystem;

namespace {

struct Kind {
  std::string_view prefix, suffix;
};
constexpr Kind kWeights{"step_", ".npz"}, kState{"state_", ".npz"};

/// N of "<prefix>N<suffix>".
std::optional<int64_t> step_of(const std::string& name, const Kind& kind) {
  if (!name.starts_with(kind.prefix) || !name.ends_with(kind.suffix)) return std::nullopt;
  if (name.size() < kind.prefix.size() + kind.suffix.size()) return std::nullopt;
  const char* begin = name.data() + kind.prefix.size();
  const char* end = name.data() + name.size() - kind.suffix.size();
  int64_t step = 0;
  auto [rest, error] = std::from_chars(begin, end, step);
  if (error != std::errc() || rest != end || step < 0) return std::nullopt;
  return step;
}

std::vector<int64_t> steps_of(const fs::path& folder, const Kind& kind) {
  std::vector<int64_t> steps;
  std::error_code ec;
  for (auto& entry : fs::directory_iterator(folder, ec)) {
    if (auto step = step_of(entry.path().filename().string(), kind)) steps.push_back(*step);
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

}  // namespace

fs::path state_file(const fs::path& folder, int64_t step) {
  return folder / fmt::format("{}{}{}", kState.prefix, step, kState.suffix);
}

std::vector<int64_t> run_states(const fs::path& folder) { return steps_of(folder, kState); }

RunFolder::RunFolder(fs::path folder) : folder_(std::move(folder)) {
  std::error_code ec;
  fs::create_directories(folder_, ec);
  if (ec) {
    throw std::runtime_error(fmt::format("[pretrain] cannot make the run's folder {}: {}",
                                         folder_.string(), ec.message()));
  }
  auto file = folder_ / ".lock";
  lock_ = open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (lock_ < 0) {
    throw std::runtime_error(fmt::format("[pretrain] cannot write into the run's folder {}: {}",
                                         folder_.string(), strerror(errno)));
  }
  // The system drops this lock when the process ends, however it ends.
  if (flock(lock_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    close(lock_);
    throw std::runtime_error(
        fmt::format("[pretrain] another process is training in {}; wait for it or choose another "
                    "run_name",
                    folder_.string()));
  }
}

RunFolder::~RunFolder() { close(lock_); }

fs::path RunFolder::weights(int64_t step) const {
  return folder_ / fmt::format("{}{}{}", kWeights.prefix, step, kWeights.suffix);
}
std::vector<int64_t> RunFolder::checkpoints() const { return steps_of(folder_, kWeights); }

void RunFolder::remove_leftovers() const {
  std::error_code ec;
  for (auto& entry : fs::directory_iterator(folder_, ec)) {
    std::string name = entry.path().filename().string();
    size_t mark = name.find(".tmp-");
    if (mark != std::string::npos && mark + 5 + 6 == name.size()) fs::remove(entry.path(), ec);
  }
}

void RunFolder::keep_newest(int64_t count) const {
  auto steps = checkpoints();
  auto more = static_cast<int64_t>(steps.size()) - count;
  std::error_code ec;
  for (int64_t i = 0; i < more; ++i) {
    fs::remove(weights(steps[static_cast<size_t>(i)]), ec);
    fs::remove(state(steps[static_cast<size_t>(i)]), ec);
  }
}

void RunFolder::set_aside_after(int64_t step) const {
  std::error_code ec;
  for (int64_t later : states()) {
    if (later > step) fs::rename(state(later), state(later).string() + ".old", ec);
  }
}

ResumePoint resume_point(const fs::path& given) {
  std::error_code ec;
  ResumePoint point{given, std::nullopt};
  if (!fs::exists(given, ec)) {
    throw std::runtime_error(fmt::format("[resume] no such run folder: {}", given.string()));
  }
  if (!fs::is_directory(given, ec)) {
    std::string name = given.filename().string();
    point.step = step_of(name, kState);
    if (!point.step) point.step = step_of(name, kWeights);
    if (!point.step) {
      throw std::runtime_error(fmt::format(
          "[resume] {} is neither a run's folder nor a state_N.npz of one", given.string()));
    }
    point.folder = given.parent_path().empty() ? fs::path(".") : given.parent_path();
  }
  if (!fs::exists(point.folder / "all_config.yaml", ec)) {
    throw std::runtime_error(fmt::format(
        "[resume] {} holds no all_config.yaml, so it is no run's folder", point.folder.string()));
  }
  auto steps = run_states(point.folder);
  if (steps.empty()) {
    throw std::runtime_error(
        fmt::format("[resume] {} holds no state_N.npz to go on from; start anew, with "
                    "load_checkpoint=FILE to keep weights",
                    point.folder.string()));
  }
  if (point.step && !std::binary_search(steps.begin(), steps.end(), *point.step)) {
    throw std::runtime_error(fmt::format("[resume] {} holds no state_{}.npz; it has steps {}",
                                         point.folder.string(), *point.step,
                                         fmt::join(steps, ", ")));
  }
  return point;
}

}  // namespace trm
