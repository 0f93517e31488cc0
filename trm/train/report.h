#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace trm {

/// One HTML page that draws the metrics of several runs and needs nothing else: no network, no
/// other file. `runs` are run folders or metrics.jsonl files; long ones are averaged into 1,000
/// points a curve. Throws std::runtime_error for runs without metrics.
std::string report_page(const std::vector<std::filesystem::path>& runs);

}  // namespace trm
