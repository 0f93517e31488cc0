#include "trm/train/metrics_log.h"

#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>
#include <stdexcept>

#include <fcntl.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <sys/stat.h>
#include <unistd.h>

#include "trm/io/atomic_file.h"

namespace trm {

namespace {

bool is_evaluation(const MetricsLine& line) {
  for (auto& [name, value] : line.values) {
    if (name.starts_with("eval/")) return true;
  }
  return false;
}

}  // namespace

std::string MetricsLine::text() const {
  std::string out = fmt::format("{{\"step\": {}, \"time\": {:.3f}", step, time);
  for (auto& [name, value] : values) {
    out += fmt::format(", {}: {}", nlohmann::json(name).dump(),
                       std::isfinite(value) ? fmt::format("{}", value) : "null");
  }
  return out + "}";
}

std::optional<double> MetricsLine::find(const std::string& name) const {
  for (auto& [other, value] : values) {
    if (other == name) return value;
  }
  return std::nullopt;
}

std::vector<MetricsLine> read_metrics(const std::filesystem::path& file) {
  std::ifstream in(file);
  if (!in) throw std::runtime_error(fmt::format("[metrics] cannot read {}", file.string()));
  std::vector<MetricsLine> lines;
  std::string text;
  for (int number = 1; std::getline(in, text); ++number) {
    auto json = nlohmann::ordered_json::parse(text, nullptr, false);
    bool usable = json.is_object() && json.contains("step") && json["step"].is_number_integer();
    if (!usable) {
      if (in.peek() == std::ifstream::traits_type::eof()) break;
      throw std::runtime_error(
          fmt::format("[metrics] {}, line {}: not a line of metrics", file.string(), number));
    }
    MetricsLine line;
    for (auto& [name, value] : json.items()) {
      if (name == "step") {
        line.step = value.get<int64_t>();
      } else if (name == "time" && value.is_number()) {
        line.time = value.get<double>();
      } else if (value.is_number()) {
        line.values.emplace_back(name, value.get<double>());
      }
    }
    lines.push_back(std::move(line));
  }
  return lines;
}

MetricsLog::MetricsLog(const std::filesystem::path& file, std::optional<int64_t> keep_until)
    : file_(file) {
  std::string kept;
  if (keep_until && std::filesystem::exists(file)) {
    for (auto& line : read_metrics(file)) {
      if (line.step > *keep_until) continue;
      kept += line.text() + "\n";
      if (is_evaluation(line)) evaluated_at_ = line.step;
    }
  }
  write_file_atomically(file, kept);
  fd_ = open(file.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  if (fd_ < 0) {
    throw std::runtime_error(
        fmt::format("[metrics] cannot open {}: {}", file.string(), strerror(errno)));
  }
}

MetricsLog::~MetricsLog() {
  if (fd_ >= 0) close(fd_);
}

void MetricsLog::append(const MetricsLine& line) {
  std::string text = line.text() + "\n";
  struct stat before = {};
  fstat(fd_, &before);
  ssize_t written = write(fd_, text.data(), text.size());
  if (written == static_cast<ssize_t>(text.size())) {
    if (is_evaluation(line)) evaluated_at_ = line.step;
    return;
  }
  std::string reason = written < 0 ? strerror(errno) : "disk full";
  // A part of a line must not stay. (Shrinking needs no space, so this works on a full disk.)
  if (written > 0 && ftruncate(fd_, before.st_size) != 0) reason += ", and cannot be cut back";
  throw std::runtime_error(fmt::format("[metrics] cannot write {}: {}", file_.string(), reason));
}

}  // namespace trm
