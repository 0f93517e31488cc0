#include "trm/serve/runs.h"

#include <algorithm>
#include <stdexcept>
#include <string_view>
#include <tuple>
#include <vector>

#include <fmt/format.h>

#include "trm/io/sha256.h"
#include "trm/train/embedded.h"
#include "trm/train/report.h"

namespace trm::serve {

namespace fs = std::filesystem;

namespace {

constexpr int kDepth = 3;
constexpr size_t kRuns = 12;

struct Found {
  fs::path file;
  fs::file_time_type changed;
  uintmax_t size = 0;
};

std::vector<Found> find_runs(const fs::path& folder) {
  std::vector<Found> found;
  std::error_code error;
  auto options = fs::directory_options::skip_permission_denied;
  for (auto it = fs::recursive_directory_iterator(folder, options, error);
       !error && it != fs::recursive_directory_iterator(); it.increment(error)) {
    if (it.depth() >= kDepth) it.disable_recursion_pending();
    if (it->path().filename() != "metrics.jsonl") continue;
    std::error_code unreadable;
    Found f{it->path(), it->last_write_time(unreadable), it->file_size(unreadable)};
    if (!unreadable && f.size > 0) found.push_back(std::move(f));
  }
  std::sort(found.begin(), found.end(), [](auto& a, auto& b) {
    return std::tuple(b.changed, a.file) < std::tuple(a.changed, b.file);
  });
  if (found.size() > kRuns) found.resize(kRuns);
  return found;
}

std::string base64(const std::array<uint8_t, 32>& bytes) {
  constexpr const char* kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    size_t n = std::min<size_t>(3, bytes.size() - i);
    uint32_t bits = 0;
    for (size_t k = 0; k < 3; ++k) bits = bits << 8 | (k < n ? bytes[i + k] : 0u);
    for (size_t k = 0; k < 4; ++k) out += k <= n ? kDigits[bits >> (18 - 6 * k) & 63] : '=';
  }
  return out;
}

// The hash source of what stands between <tag> and </tag>.
std::string hash_of(std::string_view page, const std::string& tag) {
  auto begin = page.find("<" + tag + ">") + tag.size() + 2;
  auto text = page.substr(begin, page.find("</" + tag + ">", begin) - begin);
  Sha256 hash;
  hash.update(text.data(), text.size());
  return fmt::format("'sha256-{}'", base64(hash.digest()));
}

}  // namespace

nlohmann::json RunsFolder::data() {
  std::lock_guard lock(mutex_);
  auto runs = nlohmann::json::array();
  std::map<fs::path, Known> known;
  for (auto& f : find_runs(folder_)) {
    auto old = known_.find(f.file);
    if (old != known_.end() && old->second.changed == f.changed && old->second.size == f.size) {
      known[f.file] = std::move(old->second);
    } else {
      Known now{f.changed, f.size, nullptr};
      try {
        now.data = run_data(f.file.parent_path());
        // Runs of one name in different folders are told apart by where they stand.
        now.data["name"] = f.file.parent_path().lexically_relative(folder_).string();
        if (now.data["name"] == ".") now.data["name"] = folder_.filename().string();
      } catch (const std::exception&) {
        // Being written, or not a run.
      }
      known[f.file] = std::move(now);
    }
    if (!known[f.file].data.is_null()) runs.push_back(known[f.file].data);
  }
  known_ = std::move(known);
  return {{"runs", std::move(runs)}};
}

const std::string& runs_page() {
  static const std::string page = [] {
    std::string text = report_template();
    constexpr std::string_view kMark = "/*LIVE*/false";
    return text.replace(text.find(kMark), kMark.size(), "true");
  }();
  return page;
}

const std::string& runs_policy() {
  static const std::string policy = fmt::format(
      "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; base-uri 'none'; "
      "form-action 'none'; frame-ancestors 'none'",
      hash_of(runs_page(), "script"), hash_of(runs_page(), "style"));
  return policy;
}

}  // namespace trm::serve
