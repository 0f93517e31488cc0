#include "trm/data/json_file.h"

#include <cerrno>
#include <cstring>
#include <fstream>

#include <fmt/format.h>

#include "trm/io/text.h"

namespace trm {

std::string read_text_file(const std::filesystem::path& file, uint64_t limit) {
  auto name = printable(file.string());
  std::error_code error;
  auto status = std::filesystem::status(file, error);
  if (status.type() == std::filesystem::file_type::not_found) {
    throw std::runtime_error(fmt::format("[read] {}: no such file", name));
  }
  if (status.type() != std::filesystem::file_type::regular) {
    throw std::runtime_error(fmt::format("[read] {}: not a regular file", name));
  }
  auto size = std::filesystem::file_size(file, error);
  if (!error && size > limit) {
    throw std::runtime_error(
        fmt::format("[read] {}: {} bytes, at most {} are accepted", name, size, limit));
  }
  std::ifstream in(file, std::ios::binary);
  std::string text(error ? 0 : size, '\0');
  if (error || !in.read(text.data(), static_cast<std::streamsize>(size))) {
    throw std::runtime_error(fmt::format("[read] {}: cannot read: {}", name, strerror(errno)));
  }
  return text;
}

nlohmann::ordered_json parse_json(const std::string& text, const std::string& name) {
  using Json = nlohmann::ordered_json;
  constexpr int kDepth = 64, kKeys = 20000;  // finding a key is linear, so their number is limited
  int keys[kDepth + 2] = {};
  auto limit = [&](int depth, Json::parse_event_t event, Json&) {
    if (depth > kDepth) fail("[json] {}: nested deeper than {} levels", printable(name), kDepth);
    if (event == Json::parse_event_t::object_start) keys[depth + 1] = 0;
    if (event == Json::parse_event_t::key && ++keys[depth] > kKeys) {
      fail("[json] {}: an object of more than {} keys", printable(name), kKeys);
    }
    return true;
  };
  try {
    return Json::parse(text, limit);
  } catch (const Json::parse_error& e) {
    throw std::runtime_error(
        fmt::format("[json] {}: not valid JSON near byte {}", printable(name), e.byte));
  } catch (const Json::exception& e) {  // a number out of range
    throw std::runtime_error(fmt::format("[json] {}: {}", printable(name), printable(e.what())));
  }
}

nlohmann::ordered_json read_json_file(const std::filesystem::path& file) {
  return parse_json(read_text_file(file, uint64_t{1} << 30), file.string());
}

}  // namespace trm
