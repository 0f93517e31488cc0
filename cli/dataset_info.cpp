// trm dataset info: what stands in a data set or CSV file, and pictures of it.
#include "trm/data/dataset_info.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include "cli/checks.h"
#include "cli/commands.h"
#include "cli/csv_info.h"
#include "cli/dataset_progress.h"
#include "trm/data/picture.h"
#include "trm/io/text.h"

namespace trm::cli {

namespace {

struct InfoCommand {
  std::string path, split = "train", png, against;
  bool json = false, rate = false;
  int64_t show = 0, from = 0;
};

std::string range(int64_t least, int64_t most) {
  return least == most ? std::to_string(least) : fmt::format("{}-{}", least, most);
}

/// "1-10 (0.3 % 1, …)": which tokens occur.
std::string token_range(const std::vector<int64_t>& counts) {
  int64_t least = -1, most = -1;
  for (size_t t = 0; t < counts.size(); ++t) {
    if (counts[t] == 0) continue;
    if (least < 0) least = static_cast<int64_t>(t);
    most = static_cast<int64_t>(t);
  }
  return range(least, most);
}

nlohmann::json to_json(const SplitInfo& s) {
  const auto& m = s.metadata;
  nlohmann::json out = {{"examples", s.examples},
                        {"puzzles", s.puzzles},
                        {"groups", s.groups},
                        {"examples_of_a_puzzle", {s.least_in_puzzle, s.most_in_puzzle}},
                        {"puzzles_of_a_group", {s.least_in_group, s.most_in_group}},
                        {"cells", m.seq_len},
                        {"vocabulary", m.vocab_size},
                        {"puzzle_identifiers", m.num_puzzle_identifiers},
                        {"input_tokens", s.input_tokens},
                        {"label_tokens", s.label_tokens},
                        {"repeated_inputs", s.repeated_inputs},
                        {"repeated_with_the_same_label", s.repeated_examples},
                        {"repeated_with_another_label", s.conflicting}};
  if (s.maze) out["maze"] = maze_json(*s.maze);
  return out;
}

nlohmann::json to_json(const std::string& path, const DatasetInfo& info) {
  nlohmann::json out = {{"path", path}, {"kind", name_of(info.kind)}, {"bytes", info.bytes}};
  for (auto& [split, s] : info.splits) out["splits"][split] = to_json(s);
  if (info.leakage) {
    out["leakage"] = {{"exact", info.leakage->exact},
                      {"symmetric", info.leakage->symmetric},
                      {"first", info.leakage->first}};
  }
  return out;
}

void print_split(const std::string& name, const SplitInfo& s) {
  auto& m = s.metadata;
  fmt::print("{}: {} examples, {} puzzles of {} examples, {} groups of {} puzzles\n", name,
             s.examples, s.puzzles, range(s.least_in_puzzle, s.most_in_puzzle), s.groups,
             range(s.least_in_group, s.most_in_group));
  fmt::print(
      "  {} cells; tokens {} in inputs, {} in labels, of a vocabulary of {}; {} puzzle "
      "identifiers\n",
      m.seq_len, token_range(s.input_tokens), token_range(s.label_tokens), m.vocab_size,
      m.num_puzzle_identifiers);
  fmt::print("  repeated inputs: {} ({} with the same label, {} with another)\n", s.repeated_inputs,
             s.repeated_examples, s.conflicting);
  if (s.maze) print_maze_facts(maze_json(*s.maze));
}

void print_folder(const InfoCommand& o) {
  auto info = dataset_info(o.path, dataset_progress());
  if (o.json) return fmt::print("{}\n", to_json(o.path, info).dump(2));
  fmt::print("{}: {}, {:.2f} MB\n", printable(o.path), name_of(info.kind),
             static_cast<double>(info.bytes) / (1 << 20));
  for (std::string split : {"train", "test"}) {
    if (auto it = info.splits.find(split); it != info.splits.end()) print_split(split, it->second);
  }
  if (info.leakage) {
    auto tests = info.splits.at("test").examples;
    fmt::print("leakage: {} of {} test inputs stand in the training split", info.leakage->exact,
               tests);
    if (info.kind != PuzzleKind::other) {
      fmt::print(", {} with their symmetric forms", info.leakage->symmetric);
    }
    fmt::print("{}\n", info.leakage->first.empty()
                           ? ""
                           : fmt::format(" (first: {})", fmt::join(info.leakage->first, ", ")));
  }
}

void show_examples(const InfoCommand& o) {
  PuzzleDataset data({o.path}, o.split);
  auto kind = kind_of(data.metadata());
  bool colours = isatty(STDOUT_FILENO);
  int64_t end =
      std::min(data.examples(), o.from + std::max<int64_t>(o.show, o.png.empty() ? 0 : 1));
  if (o.from >= data.examples()) {
    fail("[dataset] {} has the examples 0..{}", o.split, data.examples() - 1);
  }
  for (int64_t i = o.from; i < end; ++i) {
    auto [input, label] = example_tokens(data, i);
    if (o.show > 0) {
      fmt::print("\n{} {}, identifier {}\n{}", o.split, i, data.identifier_of(i),
                 picture_text(kind, input, label, colours));
    }
    if (!o.png.empty()) {
      auto file = std::filesystem::path(o.png) / fmt::format("{}_{}.png", o.split, i);
      std::filesystem::create_directories(o.png);
      write_png(file, picture_image(kind, input, label));
      fmt::print("{}\n", printable(file.string()));
    }
  }
}

}  // namespace

void add_dataset_info(CLI::App& dataset) {
  auto o = std::make_shared<InfoCommand>();
  auto* c =
      dataset.add_subcommand("info", "Counts, repetitions, leakage and pictures of a data set");
  c->add_option("path", o->path, "A data set's folder, or a CSV file of Sudoku or mazes")
      ->required();
  c->add_flag("--json", o->json, "Print everything as JSON");
  c->add_option("--against", o->against,
                "A CSV file of training Sudoku: which rows of FILE stand there, also in disguise");
  c->add_flag("--rate", o->rate, "Compare our rating of the Sudoku in FILE with its rating column");
  c->add_option("--show", o->show, "Draw this many examples")->check(kNotNegative);
  c->add_option("--png", o->png, "Write pictures of them (at least one) into this folder");
  c->add_option("--split", o->split, "Which split to draw from")
      ->check(CLI::IsMember({"train", "test"}))
      ->capture_default_str();
  c->add_option("--from", o->from, "First example to draw")->check(kNotNegative);
  c->footer(
      "Examples:\n"
      "  trm dataset info data/sudoku-extreme-1k-aug-1000\n"
      "  trm dataset info test_hard_10k.csv --against train.csv --rate --json\n"
      "  trm dataset info data/arc1 --show 3 --split test --png pictures");
  c->callback([o] {
    if (o->json && (o->show > 0 || !o->png.empty())) fail("[dataset] --json draws nothing");
    if (std::filesystem::is_regular_file(o->path)) {
      if (o->show || !o->png.empty())
        fail("[dataset] pictures are drawn from data sets, not from CSV files");
      auto info = csv_info({o->path, o->against, o->rate});
      if (o->json) return fmt::print("{}\n", info.dump(2));
      return print_csv_info(info);
    }
    if (o->rate || !o->against.empty()) fail("[dataset] --rate and --against read CSV files");
    print_folder(*o);
    if (o->show > 0 || !o->png.empty()) show_examples(*o);
  });
}

}  // namespace trm::cli
