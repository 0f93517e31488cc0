#pragma once

#include <filesystem>
#include <map>
#include <mutex>

#include <nlohmann/json.hpp>

namespace trm::serve {

/// A folder of training runs, read again as they grow. Requests name no files: all runs below the
/// folder (three levels deep) are found here.
class RunsFolder {
 public:
  explicit RunsFolder(std::filesystem::path folder) : folder_(std::move(folder)) {}
  /// {"runs": […]} as the report page draws them, the last changed first, at most 12. Runs that
  /// cannot be read are left out. Safe to call from several threads.
  nlohmann::json data();

 private:
  struct Known {
    std::filesystem::file_time_type changed;
    uintmax_t size = 0;
    nlohmann::json data;
  };
  std::filesystem::path folder_;
  std::mutex mutex_;
  std::map<std::filesystem::path, Known> known_;
};

/// The page of `trm report` without runs in it, and the Content-Security-Policy that lets its own
/// script and style run and nothing else.
const std::string& runs_page();
const std::string& runs_policy();

}  // namespace trm::serve
