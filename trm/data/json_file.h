// JSON files read with a limit on their size and depth, and clear errors.
#pragma once

#include <filesystem>
#include <string>

#include <nlohmann/json.hpp>

namespace trm {

/// The file's bytes; throws std::runtime_error when it is missing, not regular or above `limit`.
std::string read_text_file(const std::filesystem::path& file, uint64_t limit);

/// Parses `text`; `name` is used in errors. More than 64 levels or 20,000 keys in one object are
/// refused: no file of ours comes near. Objects keep the order of the text.
nlohmann::ordered_json parse_json(const std::string& text, const std::string& name);

/// Both, for files of at most 1 GiB.
nlohmann::ordered_json read_json_file(const std::filesystem::path& file);

}  // namespace trm
