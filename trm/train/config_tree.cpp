#include "trm/train/config_tree.h"

#include <algorithm>
#include <fstream>
#include <numeric>
#include <sstream>
#include <stdexcept>

#include <fmt/format.h>

#include "trm/train/embedded.h"

namespace trm {

namespace fs = std::filesystem;

namespace {

constexpr size_t kMaxBytes = 1 << 20;
constexpr int kMaxReferences = 32;  // steps of one ${...} chain
constexpr int kMaxDepth = 16;
constexpr int kMaxNodes = 20000;

bool chooses_arch(const Override& o) {
  return o.path.size() == 1 && o.path[0] == "arch" && o.value.IsScalar();
}

/// Refuses trees that aliases make endless or huge.
void check_size(const YAML::Node& node, int depth, int& count) {
  if (depth > kMaxDepth || ++count > kMaxNodes) {
    throw std::invalid_argument("nested too deeply or too large for a configuration");
  }
  if (node.IsMap()) {
    for (auto entry : node) check_size(entry.second, depth + 1, count);
  } else if (node.IsSequence()) {
    for (auto item : node) check_size(item, depth + 1, count);
  }
}

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> parts;
  std::stringstream in(text);
  for (std::string part; std::getline(in, part, at);) parts.push_back(part);
  if (text.empty() || text.back() == at) parts.emplace_back();
  return parts;
}

size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0]++;
    for (size_t j = 0; j < b.size(); ++j) {
      size_t replaced = diagonal + (a[i] != b[j]);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, diagonal + 1});
    }
  }
  return row.back();
}

std::string read_text(const fs::path& file) {
  std::error_code ec;
  if (fs::is_directory(file, ec)) {
    throw std::runtime_error(
        fmt::format("[config] {} is a folder, not a YAML file", printable(file.string())));
  }
  std::ifstream in(file, std::ios::binary);
  if (!in) {
    throw std::runtime_error(fmt::format("[config] cannot read {}", printable(file.string())));
  }
  std::string text(kMaxBytes + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(in.gcount()));
  return text;
}

/// The mapping inside `root` that `path` (all but its last part) leads to, made where it is absent.
YAML::Node container(YAML::Node root, const Override& override) {
  YAML::Node node = root;
  for (size_t i = 0; i + 1 < override.path.size(); ++i) {
    YAML::Node next = node[override.path[i]];
    if (next.IsDefined() && !next.IsMap() && !next.IsNull()) {
      throw std::invalid_argument(fmt::format("[config] '{}' is a value and holds no '{}'",
                                              printable(override.path[i]),
                                              printable(override.path[i + 1])));
    }
    node.reset(next);
  }
  return node;
}

/// What "${reference}" inside the mapping chain `above` (root first) names.
YAML::Node look_up(const std::vector<YAML::Node>& above, const std::string& reference) {
  size_t dots = std::min(reference.find_first_not_of('.'), reference.size());
  if (dots > above.size()) {
    throw std::invalid_argument(
        fmt::format("[config] '${{{}}}' leads above the root", printable(reference)));
  }
  YAML::Node node = dots == 0 ? above.front() : above[above.size() - dots];
  for (auto& key : split(reference.substr(dots), '.')) {
    YAML::Node next = node.IsMap() ? node[key] : YAML::Node(YAML::NodeType::Undefined);
    if (!next.IsDefined()) {
      throw std::invalid_argument(fmt::format("[config] '${{{}}}' names nothing: no '{}'",
                                              printable(reference), printable(key)));
    }
    node.reset(next);
  }
  return node;
}

void interpolate_node(YAML::Node node, std::vector<YAML::Node>& above) {
  if (node.IsMap()) {
    above.push_back(node);
    for (auto entry : node) interpolate_node(entry.second, above);
    above.pop_back();
  } else if (node.IsSequence()) {
    for (auto item : node) interpolate_node(item, above);
  } else if (node.IsScalar()) {
    for (int i = 0;; ++i) {
      std::string text = node.Scalar();
      size_t begin = text.find("${");
      size_t end = text.find('}', begin == std::string::npos ? 0 : begin);
      if (begin == std::string::npos || end == std::string::npos) break;
      if (i == kMaxReferences) {
        throw std::invalid_argument(fmt::format("[config] '{}' refers to itself", printable(text)));
      }
      YAML::Node value = look_up(above, text.substr(begin + 2, end - begin - 2));
      if (begin == 0 && end + 1 == text.size()) {
        node = YAML::Clone(value);
        if (!node.IsScalar()) break;
      } else if (value.IsScalar()) {
        node = text.replace(begin, end + 1 - begin, value.Scalar());
      } else {
        throw std::invalid_argument(
            fmt::format("[config] '{}' puts a list or mapping inside a text", printable(text)));
      }
    }
  }
}

std::string embedded_name(const std::string& name) {
  auto& configs = embedded_configs();
  if (configs.contains(name)) return name;
  if (configs.contains(name + ".yaml")) return name + ".yaml";
  return "";
}

/// The mapping of `file` over what its `defaults` name; `folder` becomes the one arch/ is beside.
YAML::Node compose_file(const std::string& file, std::string& arch, fs::path& folder, int depth) {
  if (depth > 4) {
    throw std::invalid_argument(
        fmt::format("[config] the defaults of {} lead in a circle", printable(file)));
  }
  YAML::Node root;
  std::error_code ec;
  std::string beside = (folder / file).string();
  if (depth > 0 && !folder.empty() && fs::exists(beside + ".yaml", ec)) {
    root = read_mapping(beside + ".yaml");
  } else if (fs::exists(file, ec) || embedded_name(file).empty()) {
    if (!fs::exists(file, ec)) {
      std::vector<std::string> names;
      for (auto& [name, text] : embedded_configs()) {
        if (!name.starts_with("arch/")) names.push_back(fs::path(name).stem().string());
      }
      throw std::invalid_argument(
          fmt::format("[config] no file {}, and no configuration of that name{}; known are: {}",
                      printable(file), suggestion(file, names), fmt::join(names, ", ")));
    }
    root = read_mapping(file);
    folder = fs::path(file).parent_path();
    if (folder.empty()) folder = ".";
  } else {
    root = parse_mapping(embedded_configs().at(embedded_name(file)), embedded_name(file));
  }
  YAML::Node defaults = YAML::Clone(root["defaults"]);
  root.remove("defaults");
  root.remove("hydra");
  YAML::Node base(YAML::NodeType::Map);
  for (auto entry : defaults) {
    if (entry.IsMap() && entry.size() == 1 && entry["arch"]) {
      arch = entry["arch"].as<std::string>("");
    } else if (entry.IsScalar() && entry.Scalar() == "_self_") {
      continue;
    } else if (entry.IsScalar()) {
      base = merged(base, compose_file(entry.Scalar(), arch, folder, depth + 1));
    } else {
      throw std::invalid_argument(fmt::format(
          "[config] {}: `defaults` may hold `arch: NAME`, another file's name and `_self_`",
          printable(file)));
    }
  }
  return merged(base, root);
}

}  // namespace

std::string suggestion(const std::string& name, const std::vector<std::string>& known) {
  std::vector<std::pair<size_t, std::string>> near;
  if (name.size() > 100) return "";
  for (auto& other : known) {
    size_t distance = edit_distance(name, other);
    // "hidden_size" for "arch.hidden_size" is near too: compare the last part alone as well.
    if (auto dot = other.rfind('.'); dot != std::string::npos) {
      distance = std::min(distance, edit_distance(name, other.substr(dot + 1)));
    }
    if (distance <= std::max<size_t>(2, name.size() / 3)) near.emplace_back(distance, other);
  }
  if (near.empty()) return "";
  std::sort(near.begin(), near.end());
  near.resize(std::min<size_t>(near.size(), 3));
  std::string list;
  for (auto& [distance, other] : near) list += (list.empty() ? "" : ", ") + other;
  return fmt::format(" (did you mean {}?)", list);
}

YAML::Node parse_mapping(const std::string& text, const std::string& origin) {
  if (text.size() > kMaxBytes) {
    throw std::runtime_error(fmt::format(
        "[config] {} is larger than 1 MiB, too large for a configuration", printable(origin)));
  }
  YAML::Node root;
  try {
    root = YAML::Load(text);
    int count = 0;
    check_size(root, 0, count);
  } catch (const std::exception& e) {
    throw std::runtime_error(
        fmt::format("[config] {} is not usable YAML: {}", printable(origin), printable(e.what())));
  }
  if (!root.IsMap()) {
    throw std::runtime_error(
        fmt::format("[config] {} holds no `key: value` lines", printable(origin)));
  }
  return root;
}

YAML::Node read_mapping(const fs::path& file) {
  return parse_mapping(read_text(file), file.string());
}

Override parse_override(const std::string& text) {
  size_t start = std::min(text.find_first_not_of('+'), text.size());
  size_t equals = text.find('=', start);
  if (equals == std::string::npos || equals == start || start > 2) {
    throw std::invalid_argument(
        fmt::format("[config] '{}' is not `key=value` or `+key=value`", printable(text)));
  }
  std::string value = text.substr(equals + 1);
  Override out{split(text.substr(start, equals - start), '.'), {}};
  for (auto& part : out.path) {
    if (part.empty()) {
      throw std::invalid_argument(
          fmt::format("[config] '{}' has an empty part in its key", printable(text)));
    }
  }
  try {
    out.value = YAML::Load(value);
  } catch (const YAML::Exception& e) {
    bool nested = !value.empty() && (value[0] == '[' || value[0] == '{');
    if (nested) {
      throw std::invalid_argument(fmt::format("[config] {}: '{}' is not a list or mapping: {}",
                                              printable(text.substr(start, equals - start)),
                                              printable(value), printable(e.what())));
    }
    out.value = value;  // such as "*x" or "a: b: c": a plain text to Hydra
  }
  return out;
}

YAML::Node merged(const YAML::Node& base, const YAML::Node& over) {
  YAML::Node out = YAML::Clone(base);
  for (auto entry : over) {
    auto key = entry.first.as<std::string>("");
    YAML::Node old = out[key];
    bool both = old.IsDefined() && old.IsMap() && entry.second.IsMap();
    out[key] = both ? merged(old, entry.second) : YAML::Clone(entry.second);
  }
  return out;
}

YAML::Node arch_defaults(const std::string& name, const fs::path& folder) {
  fs::path file = folder / "arch" / (name + ".yaml");
  std::error_code ec;
  bool plain = !name.empty() && name.find('/') == std::string::npos;
  if (plain && !folder.empty() && fs::exists(file, ec)) return read_mapping(file);
  auto found = embedded_configs().find("arch/" + name + ".yaml");
  if (found != embedded_configs().end()) return parse_mapping(found->second, found->first);
  std::vector<std::string> names;
  for (auto& [path, text] : embedded_configs()) {
    if (path.starts_with("arch/")) names.push_back(fs::path(path).stem().string());
  }
  throw std::invalid_argument(fmt::format("[config] no architecture arch={}{}; known are: {}",
                                          printable(name), suggestion(name, names),
                                          fmt::join(names, ", ")));
}

void apply_overrides(YAML::Node& root, const std::vector<std::string>& overrides,
                     const fs::path& folder) {
  std::vector<Override> parsed;
  for (auto& text : overrides) parsed.push_back(parse_override(text));
  for (auto& o : parsed) {
    if (chooses_arch(o)) {
      root["arch"] = arch_defaults(o.value.Scalar(), folder);
    }
  }
  for (auto& o : parsed) {
    if (!chooses_arch(o)) container(root, o)[o.path.back()] = YAML::Clone(o.value);
  }
}

YAML::Node compose(const std::string& file, const std::vector<std::string>& overrides) {
  std::string arch = "trm";
  fs::path folder;
  YAML::Node root = compose_file(file, arch, folder, 0);
  // The choice of a group comes before the file's own values of it, single values after.
  std::vector<std::string> values;
  for (auto& text : overrides) {
    Override o = parse_override(text);
    if (chooses_arch(o)) {
      arch = o.value.Scalar();
    } else {
      values.push_back(text);
    }
  }
  YAML::Node own = root["arch"];
  root["arch"] = own.IsDefined() && own.IsMap() ? merged(arch_defaults(arch, folder), own)
                                                : arch_defaults(arch, folder);
  apply_overrides(root, values, folder);
  interpolate(root);
  return root;
}

void interpolate(YAML::Node& root) {
  std::vector<YAML::Node> above;
  interpolate_node(root, above);
}

}  // namespace trm
