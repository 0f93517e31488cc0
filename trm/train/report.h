#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace trm {

/// What the page draws of one run: name, averaged curves, last values, configuration. `run` is a
/// run folder or a metrics.jsonl. Throws std::runtime_error for one without metrics.
nlohmann::json run_data(const std::filesystem::path& run);

/// One HTML page that draws the metrics of several runs and needs nothing else: no network, no
/// other file. `runs` are run folders or metrics.jsonl files; long ones are averaged into 1,000
/// points a curve. Throws std::runtime_error for runs without metrics.
std::string report_page(const std::vector<std::filesystem::path>& runs);

}  // namespace trm
