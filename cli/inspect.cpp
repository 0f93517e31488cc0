// trm inspect: what a checkpoint holds, and how two of them differ.
#include <memory>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "cli/checkpoint_flags.h"
#include "cli/commands.h"
#include "trm/checkpoint/compare.h"
#include "trm/io/text.h"

namespace trm::cli {

namespace {

struct Arguments {
  SourceOptions options;
  std::string path, other;
  bool json = false;
};

std::string text_for_json(const std::string& name) {
  return is_utf8(name) ? name : printable(name);
}

void print_json(const SourceFile& file) {
  nlohmann::ordered_json out;
  out["format"] = file.format;
  out["bytes"] = file.bytes;
  out["taken_from"] = text_for_json(file.weights.chosen);
  out["metadata"] = nlohmann::ordered_json::object();
  for (auto& [key, value] : file.metadata)
    out["metadata"][text_for_json(key)] = text_for_json(value);
  auto tensors = nlohmann::ordered_json::array();
  for (const NamedTensor& t : file.weights.tensors) {
    tensors.push_back({{"name", text_for_json(t.name)},
                       {"shape", t.tensor.shape},
                       {"dtype", name_of(t.tensor.dtype)},
                       {"elements", t.tensor.count()},
                       {"bytes", t.tensor.count() * size_of(t.tensor.dtype)}});
  }
  out["tensors"] = std::move(tensors);
  auto left = nlohmann::ordered_json::object();
  for (auto& [name, n] : file.weights.left) left[text_for_json(name)] = n;
  out["other_parts"] = std::move(left);
  auto others = nlohmann::ordered_json::array();
  for (const OtherEntry& e : file.weights.others)
    others.push_back({{"name", text_for_json(e.path)}, {"value", e.what}});
  out["other_entries"] = std::move(others);
  fmt::print("{}\n", out.dump(2));
}

void print_text(const SourceFile& file, const std::string& path) {
  size_t widest = 0;
  uint64_t elements = 0;
  for (const NamedTensor& t : file.weights.tensors) {
    widest = std::max(widest, std::min<size_t>(printable(t.name).size(), 80));
    elements += t.tensor.count();
  }
  for (const NamedTensor& t : file.weights.tensors)
    fmt::print("{:<{}}  {:<18}  {:<10}  {}\n", printable(t.name), widest,
               shape_text(t.tensor.shape), name_of(t.tensor.dtype),
               megabytes(t.tensor.count() * size_of(t.tensor.dtype)));
  fmt::print("{}{}: {} tensors, {} elements, {} ({})\n", file.weights.tensors.empty() ? "" : "\n",
             printable(path), file.weights.tensors.size(), elements, megabytes(file.bytes),
             file.format);
  if (!file.weights.chosen.empty()) fmt::print("taken from '{}'\n", printable(file.weights.chosen));
  for (auto& [name, n] : file.weights.left)
    fmt::print("also holds '{}' with {} tensors (--key {})\n", printable(name), n, printable(name));
  size_t shown = std::min<size_t>(file.weights.others.size(), 20);
  for (size_t i = 0; i < shown; ++i)
    fmt::print("not a tensor: {} = {}\n", printable(file.weights.others[i].path),
               printable(file.weights.others[i].what));
  if (file.weights.others_count > shown)
    fmt::print("and {} more entries that are no tensors\n", file.weights.others_count - shown);
  for (auto& [key, value] : file.metadata)
    fmt::print("metadata: {} = {}\n", printable(key), printable(value));
  for (const std::string& note : file.weights.notes) fmt::print("note: {}\n", note);
}

void print_comparison(const Comparison& c, bool json) {
  if (json) {
    nlohmann::ordered_json out{{"same", c.same}, {"other_dtype", c.other_dtype.size()}};
    out["differences"] = nlohmann::ordered_json::array();
    for (const TensorDifference& d : c.differences)
      out["differences"].push_back({{"name", text_for_json(d.name)},
                                    {"what", d.what},
                                    {"elements", d.elements},
                                    {"first", d.first}});
    fmt::print("{}\n", out.dump(2));
    return;
  }
  for (const TensorDifference& d : c.differences) fmt::print("{}: {}\n", printable(d.name), d.what);
  for (const std::string& text : c.other_dtype) fmt::print("same values, {}\n", text);
  fmt::print("{} tensors are equal, {} differ\n", c.same, c.differences.size());
}

void run(const Arguments& a) {
  SourceFile file = open_source(a.path, a.options);
  if (a.other.empty()) return a.json ? print_json(file) : print_text(file, a.path);
  Comparison c = compare_checkpoints(file, open_source(a.other, a.options));
  print_comparison(c, a.json);
  if (!c.differences.empty()) throw Exit{1};
}

}  // namespace

void add_inspect(CLI::App& app) {
  auto a = std::make_shared<Arguments>();
  CLI::App* c = app.add_subcommand("inspect", "List what a checkpoint holds, or compare two");
  c->footer(
      "Examples:\n"
      "  trm inspect runs/step_6510\n"
      "  trm inspect model.safetensors --json\n"
      "  trm inspect runs/step_6510 --diff mlx/step_6510.npz     exit code 1 when they differ");
  c->add_option("checkpoint", a->path, "any file that trm convert reads")
      ->required()
      ->type_name("PATH");
  c->add_option("--diff", a->other, "compare with this checkpoint, by name and value")
      ->type_name("PATH");
  c->add_option("--key", a->options.key,
                "the part of a PyTorch file to take, a dotted path; '.' for all of it");
  c->add_flag("--json", a->json, "as JSON");
  add_limit_flags(*c, a->options.limits);
  c->callback([a] { run(*a); });
}

}  // namespace trm::cli
