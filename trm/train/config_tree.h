// The untyped half of reading a configuration: files, defaults, overrides, interpolation. What
// comes out is a tree of plain YAML that config.cpp gives its types.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <yaml-cpp/yaml.h>

#include "trm/io/text.h"

namespace trm {

/// "key=value" of a command line: path split at dots, value as YAML.
struct Override {
  std::vector<std::string> path;
  YAML::Node value;
};
/// Throws std::invalid_argument for text that isn't `[+|++]key=value`.
Override parse_override(const std::string& text);

/// YAML of at most 1 MiB whose root is a mapping; `origin` names it in errors.
YAML::Node parse_mapping(const std::string& text, const std::string& origin);
YAML::Node read_mapping(const std::filesystem::path& file);

/// A file of config/: a path, or the name of an embedded one (with or without ".yaml"). Its
/// `defaults` list and `hydra` key are taken out; `arch: NAME` of the list, or an override
/// `arch=NAME`, is read from arch/NAME.yaml beside the file, else from the embedded ones.
/// Then the overrides are set. A file whose defaults name another file (`- cfg_pretrain`) starts
/// from that one.
YAML::Node compose(const std::string& file, const std::vector<std::string>& overrides);

/// arch/NAME.yaml from `folder` or embedded; throws naming the known ones.
YAML::Node arch_defaults(const std::string& name, const std::filesystem::path& folder);

/// Sets `overrides` in `root`; those of a whole group ("arch=NAME") first.
void apply_overrides(YAML::Node& root, const std::vector<std::string>& overrides,
                     const std::filesystem::path& folder);

/// Values of `over` on top of those of `base`, mappings merged key by key.
YAML::Node merged(const YAML::Node& base, const YAML::Node& over);

/// Replaces each "${key.key}" (from the root) and "${.key}" (from the same mapping, one more dot a
/// level up) by what it names.
void interpolate(YAML::Node& root);

/// " (did you mean a, b?)", or nothing where no known name is near.
std::string suggestion(const std::string& name, const std::vector<std::string>& known);

}  // namespace trm
