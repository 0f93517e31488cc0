#include "trm/train/report.h"

#include <algorithm>
#include <map>
#include <stdexcept>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "trm/train/config.h"
#include "trm/train/embedded.h"
#include "trm/train/metrics_log.h"

namespace trm {

namespace fs = std::filesystem;

namespace {

constexpr size_t kPoints = 1000;

/// What averages over halted rows is worth as much as there were rows, and nothing without any.
bool of_halted_rows(const std::string& name) {
  return name == "train/accuracy" || name == "train/exact_accuracy" ||
         name == "train/q_halt_accuracy" || name == "train/steps";
}

struct Curve {
  std::vector<double> step, time, value, weight;
};

nlohmann::json averaged(const Curve& curve) {
  size_t n = curve.value.size(), points = std::min(n, kPoints);
  std::vector<double> step, time, value;
  for (size_t i = 0; i < points; ++i) {
    size_t begin = i * n / points, end = (i + 1) * n / points;
    double sum = 0, weight = 0, steps = 0, times = 0;
    for (size_t k = begin; k < end; ++k) {
      weight += curve.weight[k];
      sum += curve.weight[k] * curve.value[k];
      steps += curve.weight[k] * curve.step[k];
      times += curve.weight[k] * curve.time[k];
    }
    if (weight == 0) continue;
    step.push_back(steps / weight);
    time.push_back(times / weight);
    value.push_back(sum / weight);
  }
  return {{"step", step}, {"time", time}, {"value", value}};
}

std::string described(const fs::path& folder) {
  std::error_code ec;
  if (!fs::exists(folder / "all_config.yaml", ec)) return "";
  auto c = load_run_config(folder / "all_config.yaml");
  return fmt::format("{} {}x{} H{} L{} hidden {} batch {} lr {}", to_string(c.arch.kind),
                     std::max(c.arch.L_layers, c.arch.H_layers), c.arch.mlp_t ? "mlp" : "attention",
                     c.arch.H_cycles, c.arch.L_cycles, c.arch.hidden_size, c.global_batch_size,
                     c.lr);
}

}  // namespace

nlohmann::json run_data(const fs::path& given) {
  bool folder = fs::is_directory(given);
  auto lines = read_metrics(folder ? given / "metrics.jsonl" : given);
  if (lines.empty()) {
    throw std::runtime_error(fmt::format("[report] {} holds no metrics yet", given.string()));
  }
  auto home = fs::absolute(folder ? given : given.parent_path()).lexically_normal();
  if (!home.has_filename()) home = home.parent_path();
  std::map<std::string, Curve> curves;
  std::map<std::string, double> last;
  double best = -1;
  for (auto& line : lines) {
    double rows = line.find("train/count").value_or(1);
    for (auto& [name, value] : line.values) {
      auto& curve = curves[name];
      curve.step.push_back(static_cast<double>(line.step));
      curve.time.push_back(line.time);
      curve.value.push_back(value);
      curve.weight.push_back(of_halted_rows(name) ? rows : 1);
      last[name] = value;
      if (name == "eval/exact_accuracy") best = std::max(best, value);
    }
  }
  nlohmann::json series = nlohmann::json::object();
  for (auto& [name, curve] : curves) series[name] = averaged(curve);
  nlohmann::json data = {
      {"name", home.filename().string()}, {"series", series},          {"final", last},
      {"last_step", lines.back().step},   {"time", lines.back().time}, {"config", described(home)}};
  data["best"] = best < 0 ? nlohmann::json(nullptr) : nlohmann::json(best);
  return data;
}

std::string report_page(const std::vector<fs::path>& runs) {
  nlohmann::json data = nlohmann::json::array();
  for (auto& run : runs) data.push_back(run_data(run));
  std::string text = data.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace), safe;
  for (char c : text) {
    if (c == '<') {
      safe += "\\u003c";  // a run's name must not end the script
    } else {
      safe += c;
    }
  }
  std::string page = report_template();
  constexpr std::string_view kMark = "/*RUNS*/[]";
  return page.replace(page.find(kMark), kMark.size(), safe);
}

}  // namespace trm
