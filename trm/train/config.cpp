#include "trm/train/config.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>

#include <fmt/format.h>

#include "trm/train/config_fields.h"
#include "trm/train/config_tree.h"
#include "trm/train/embedded.h"

namespace trm {

namespace {

/// The reference's class behind each model, as its all_config.yaml names it.
std::string arch_name(ModelKind kind) {
  const char* cls = kind == ModelKind::hrm ? "HierarchicalReasoningModel_ACTV1"
                    : kind == ModelKind::transformers_baseline
                        ? "Model_ACTV2"
                        : "TinyRecursiveReasoningModel_ACTV1";
  return fmt::format("recursive_reasoning.{}@{}", to_string(kind), cls);
}

ModelKind arch_kind(const std::string& name) {
  std::string module = name.substr(0, name.find('@'));
  if (auto dot = module.rfind('.'); dot != std::string::npos) module = module.substr(dot + 1);
  return model_kind(printable(module));
}

// ---- values from YAML ----

[[noreturn]] void wrong_type(const std::string& key, const YAML::Node& node, const char* expected) {
  std::string value = node.IsScalar()     ? fmt::format("'{}'", printable(node.Scalar()))
                      : node.IsSequence() ? "a list"
                      : node.IsMap()      ? "a mapping"
                                          : "null";
  throw std::invalid_argument(fmt::format("[config] {} must be {}, not {}", key, expected, value));
}

double number(const std::string& key, const YAML::Node& node, const char* expected) {
  if (!node.IsScalar()) wrong_type(key, node, expected);
  std::string text;
  for (char c : node.Scalar()) {
    if (c != '_') text += c;
  }
  const char* begin = text.c_str() + (text.starts_with('+') ? 1 : 0);
  double value = 0;
  auto [end, error] = std::from_chars(begin, text.c_str() + text.size(), value);
  if (error != std::errc() || *end != '\0' || text.empty() || !std::isfinite(value)) {
    wrong_type(key, node, expected);
  }
  return value;
}

void read(const std::string& key, const YAML::Node& node, double& out) {
  out = number(key, node, "a number");
}
void read(const std::string& key, const YAML::Node& node, float& out) {
  double value = number(key, node, "a number");
  if (std::abs(value) > std::numeric_limits<float>::max()) wrong_type(key, node, "a number");
  out = static_cast<float>(value);
}
void read(const std::string& key, const YAML::Node& node, int64_t& out) {
  double value = number(key, node, "a whole number");
  if (value != std::floor(value) || std::abs(value) > 9e15) wrong_type(key, node, "a whole number");
  out = static_cast<int64_t>(value);
}
void read(const std::string& key, const YAML::Node& node, int& out) {
  int64_t value = 0;
  read(key, node, value);
  if (std::abs(value) > std::numeric_limits<int>::max()) wrong_type(key, node, "a whole number");
  out = static_cast<int>(value);
}
void read(const std::string& key, const YAML::Node& node, bool& out) {
  if (!node.IsScalar()) wrong_type(key, node, "True or False");
  if (node.Scalar() == "1" || node.Scalar() == "0") {
    out = node.Scalar() == "1";
  } else if (!YAML::convert<bool>::decode(node, out)) {
    wrong_type(key, node, "True or False");
  }
}
void read(const std::string& key, const YAML::Node& node, std::string& out) {
  if (!node.IsScalar()) wrong_type(key, node, "a text");
  out = node.Scalar();
}
void read(const std::string& key, const YAML::Node& node, PosEncoding& out) {
  if (!node.IsScalar()) wrong_type(key, node, "rope, learned or none");
  out = pos_encoding(printable(node.Scalar()));
}
void read(const std::string&, const YAML::Node& node, EvaluatorConfig& out);
template <class T>
void read(const std::string& key, const YAML::Node& node, std::optional<T>& out) {
  if (node.IsNull()) {
    out.reset();
  } else {
    read(key, node, out.emplace());
  }
}
template <class T>
void read(const std::string& key, const YAML::Node& node, std::vector<T>& out) {
  if (!node.IsSequence()) wrong_type(key, node, "a list such as \"[a,b]\"");
  out.clear();
  for (auto item : node) read(key, item, out.emplace_back());
}
void read(const std::string& key, const YAML::Node& node, EvaluatorConfig& out) {
  if (!node.IsMap()) wrong_type(key, node, "a list of mappings such as \"[{name: arc@ARC}]\"");
  std::vector<std::string> known;
  evaluator_fields(out, [&](const char* name, auto& value) {
    known.emplace_back(name);
    if (node[name]) read(key + "." + name, node[name], value);
  });
  for (auto entry : node) {
    auto name = entry.first.as<std::string>("");
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      throw std::invalid_argument(
          fmt::format("[config] {} holds the unknown key '{}'{}; known are: {}", key,
                      printable(name), suggestion(name, known), fmt::join(known, ", ")));
    }
  }
}

// ---- and to YAML, as PyYAML writes it ----

std::string text_of(bool value) { return value ? "true" : "false"; }
std::string text_of(int value) { return fmt::format("{}", value); }
std::string text_of(int64_t value) { return fmt::format("{}", value); }
template <class Float>
std::string text_of_float(Float value) {
  std::string text = fmt::format("{}", value);
  size_t e = text.find('e');
  // PyYAML takes "1e-05" for a text.
  if (text.find('.') == std::string::npos) text.insert(std::min(e, text.size()), ".0");
  return text;
}
std::string text_of(double value) { return text_of_float(value); }
std::string text_of(float value) { return text_of_float(value); }
std::string text_of(PosEncoding value) { return to_string(value); }
std::string text_of(const std::string& value) {
  bool plain = !value.empty() && value != "null" && value != "~";
  for (unsigned char c : value) {
    plain = plain && (std::isalnum(c) || std::string_view("_-./@").find(c) != std::string::npos);
  }
  bool letters = plain && (std::isalpha(static_cast<unsigned char>(value[0])) || value[0] == '/');
  for (auto word : {"true", "false", "yes", "no", "on", "off", "null"}) {
    letters = letters && !std::equal(value.begin(), value.end(), word, word + strlen(word),
                                     [](char a, char b) { return std::tolower(a) == b; });
  }
  if (letters) return value;
  YAML::Emitter out;
  out << YAML::DoubleQuoted << value;
  return out.c_str();
}
template <class T>
std::string text_of(const std::vector<T>& value);
std::string text_of(const EvaluatorConfig& value) {
  std::string out;
  evaluator_fields(
      value, [&](const char* name, auto& v) { out += fmt::format(", {}: {}", name, text_of(v)); });
  return fmt::format("{{{}}}", out.substr(2));
}
template <class T>
std::string text_of(const std::optional<T>& value) {
  return value ? text_of(*value) : "null";
}
template <class T>
std::string text_of(const std::vector<T>& value) {
  std::string out;
  for (auto& item : value) out += (out.empty() ? "" : ", ") + text_of(item);
  return fmt::format("[{}]", out);
}

// ---- whole trees ----

constexpr std::string_view kArch = "arch.";

std::vector<std::string> known_keys() {
  std::vector<std::string> keys = {"arch", "arch.name", "arch.loss.name", "arch.loss.loss_type"};
  PretrainConfig c;
  arch_fields(c.arch, [&](const char* key, auto&) { keys.emplace_back(key); });
  run_fields(c, [&](const char* key, auto&, OnResume) { keys.emplace_back(key); });
  return keys;
}

void refuse_unknown(const YAML::Node& root) {
  auto known = known_keys();
  auto check = [&](const YAML::Node& map, const std::string& prefix) {
    for (auto entry : map) {
      std::string key = prefix + entry.first.as<std::string>("");
      if (key == "arch.loss") continue;
      if (std::find(known.begin(), known.end(), key) == known.end()) {
        std::string near = suggestion(key, known);
        throw std::invalid_argument(fmt::format(
            "[config] unknown key '{}'{}", printable(key),
            near.empty() ? "; `trm pretrain --dry-run` lists all keys with their values" : near));
      }
    }
  };
  check(root, "");
  check(root["arch"], "arch.");
  if (auto loss = root["arch"]["loss"]; loss && loss.IsMap()) check(loss, "arch.loss.");
}

ArchConfig bind_arch(const YAML::Node& node) {
  if (!node.IsMap()) wrong_type("arch", node, "a mapping, or arch=NAME");
  ArchConfig arch;
  std::string text;
  if (node["name"]) {
    read("arch.name", node["name"], text);
    arch.kind = arch_kind(text);
  }
  if (auto loss = node["loss"]; loss && loss.IsMap()) {
    if (auto head = loss["name"]) {
      read("arch.loss.name", head, text);
      if (text.substr(text.find('@') + 1) != "ACTLossHead") {
        throw std::invalid_argument(fmt::format(
            "[config] arch.loss.name must be losses@ACTLossHead, not '{}'", printable(text)));
      }
    }
    if (loss["loss_type"]) {
      read("arch.loss.loss_type", loss["loss_type"], text);
      arch.loss = loss_kind(printable(text));
    }
  }
  arch_fields(arch, [&](const char* key, auto& value) {
    YAML::Node found = node[key + kArch.size()];
    if (found.IsDefined()) read(key, found, value);
  });
  return arch;
}

PretrainConfig bind(const YAML::Node& root) {
  PretrainConfig config;
  config.arch = bind_arch(root["arch"]);
  run_fields(config, [&](const char* key, auto& value, OnResume) {
    YAML::Node found = root[key];
    if (found.IsDefined()) read(key, found, value);
  });
  validate(config);
  return config;
}

/// An all_config.yaml over the defaults of its model, so that keys it lacks mean what they meant.
YAML::Node run_tree(YAML::Node root, const std::string& name,
                    const std::vector<std::string>& overrides) {
  YAML::Node arch = root["arch"];
  if (!arch.IsDefined() || !arch.IsMap() || !arch["name"]) {
    throw std::runtime_error(
        fmt::format("[config] {} names no model: it lacks arch.name", printable(name)));
  }
  ModelKind kind = arch_kind(arch["name"].as<std::string>(""));
  root["arch"] = merged(arch_defaults(to_string(kind), {}), arch);
  for (auto& text : overrides) {
    // Only what the user typed has to be known; the file may hold keys of another program.
    YAML::Node typed(YAML::NodeType::Map);
    typed["arch"] = YAML::Node(YAML::NodeType::Map);
    apply_overrides(typed, {text}, {});
    refuse_unknown(typed);
  }
  apply_overrides(root, overrides, {});
  interpolate(root);
  return root;
}

}  // namespace

std::filesystem::path PretrainConfig::run_folder() const {
  if (checkpoint_path) return *checkpoint_path;
  return std::filesystem::path("checkpoints") / project_name.value_or("") / run_name.value_or("");
}

PretrainConfig load_config(const std::optional<std::string>& file,
                           const std::vector<std::string>& overrides) {
  YAML::Node root = compose(file.value_or("cfg_pretrain"), overrides);
  refuse_unknown(root);
  return bind(root);
}

PretrainConfig load_run_config(const std::filesystem::path& file,
                               const std::vector<std::string>& overrides) {
  return bind(run_tree(read_mapping(file), file.string(), overrides));
}

ArchConfig load_arch_config(const std::optional<std::filesystem::path>& all_config,
                            const std::vector<std::string>& overrides) {
  if (!all_config) return load_config(std::nullopt, overrides).arch;
  return bind_arch(run_tree(read_mapping(*all_config), all_config->string(), overrides)["arch"]);
}

ArchConfig parse_arch_config(const std::string& all_config, const std::string& name,
                             const std::vector<std::string>& overrides) {
  return bind_arch(run_tree(parse_mapping(all_config, name), name, overrides)["arch"]);
}

std::vector<std::string> to_overrides(const ArchConfig& config) {
  std::vector<std::string> out{fmt::format("arch={}", to_string(config.kind)),
                               fmt::format("arch.loss.loss_type={}", to_string(config.loss))};
  arch_fields(config, [&](const char* key, auto& value) {
    out.push_back(fmt::format("{}={}", key, text_of(value)));
  });
  return out;
}

std::string to_yaml(const PretrainConfig& config) {
  std::string out = "arch:\n";
  arch_fields(config.arch, [&](const char* key, auto& value) {
    out += fmt::format("  {}: {}\n", key + kArch.size(), text_of(value));
  });
  out += fmt::format("  loss:\n    loss_type: {}\n    name: losses@ACTLossHead\n  name: {}\n",
                     to_string(config.arch.loss), arch_name(config.arch.kind));
  run_fields(config, [&](const char* key, auto& value, OnResume) {
    out += fmt::format("{}: {}\n", key, text_of(value));
  });
  return out;
}

std::vector<std::string> differences(const PretrainConfig& from, const PretrainConfig& to) {
  auto list = [](const PretrainConfig& c) {
    std::vector<std::pair<std::string, std::string>> values;
    values.emplace_back("arch.name", to_string(c.arch.kind));
    values.emplace_back("arch.loss.loss_type", to_string(c.arch.loss));
    arch_fields(c.arch,
                [&](const char* key, auto& value) { values.emplace_back(key, text_of(value)); });
    run_fields(c, [&](const char* key, auto& value, OnResume on_resume) {
      if (on_resume == OnResume::same) values.emplace_back(key, text_of(value));
    });
    return values;
  };
  auto a = list(from), b = list(to);
  std::vector<std::string> out;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i] != b[i]) {
      out.push_back(
          fmt::format("{}: {} -> {}", a[i].first, printable(a[i].second), printable(b[i].second)));
    }
  }
  return out;
}

}  // namespace trm
