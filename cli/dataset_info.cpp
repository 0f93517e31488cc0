// trm dataset info: what stands in a data set or CSV file, and pictures of it.
#include "trm/data/dataset_info.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <set>
#include <string>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include "cli/checks.h"
#include "cli/commands.h"
#include "trm/data/maze_dataset.h"
#include "trm/data/picture.h"
#include "trm/data/sudoku_dataset.h"
#include "trm/io/text.h"

namespace trm::cli {

namespace {

struct InfoCommand {
  std::string path, split = "train", png;
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
}

void print_folder(const InfoCommand& o) {
  auto info = dataset_info(o.path);
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

void print_csv(const InfoCommand& o) {
  std::set<std::string> distinct;
  if (is_maze_csv(o.path)) {
    auto rows = read_maze_csv(o.path);
    int shortest = INT32_MAX, longest = 0;
    int64_t unreachable = 0, right = 0;
    for (auto& row : rows) {
      distinct.insert(to_text(row.question));
      right += is_shortest_path(row.question, row.answer);
      if (auto d = maze_distance(row.question)) {
        shortest = std::min(shortest, *d);
        longest = std::max(longest, *d);
      } else {
        ++unreachable;
      }
    }
    fmt::print(
        "{}: {} mazes of {}x{}, {} distinct; shortest paths of {} steps, {} without a path; {} "
        "answers "
        "are shortest paths\n",
        printable(o.path), rows.size(), rows[0].question.rows, rows[0].question.rows,
        distinct.size(), range(shortest, longest), unreachable, right);
    return;
  }
  auto rows = read_sudoku_csv(o.path);
  int64_t low = INT64_MAX, high = INT64_MIN, few = 81, many = 0, unique = 0;
  double ratings = 0;
  for (auto& row : rows) {
    distinct.insert(to_text(row.pair.question));
    low = std::min(low, row.rating);
    high = std::max(high, row.rating);
    ratings += static_cast<double>(row.rating);
    few = std::min<int64_t>(few, row.pair.question.givens());
    many = std::max<int64_t>(many, row.pair.question.givens());
    unique += solve_sudoku(row.pair.question).found == 1;
  }
  int size = rows[0].pair.question.size;
  fmt::print(
      "{}: {} Sudoku of {}x{}, {} distinct, {} with one solution; {} givens; rating {}, mean "
      "{:.1f}\n",
      printable(o.path), rows.size(), size, size, distinct.size(), unique, range(few, many),
      range(low, high), ratings / static_cast<double>(rows.size()));
}

}  // namespace

void add_dataset_info(CLI::App& dataset) {
  auto o = std::make_shared<InfoCommand>();
  auto* c =
      dataset.add_subcommand("info", "Counts, repetitions, leakage and pictures of a data set");
  c->add_option("path", o->path, "A data set's folder, or a CSV file of Sudoku or mazes")
      ->required();
  c->add_option("--show", o->show, "Draw this many examples")->check(kNotNegative);
  c->add_option("--png", o->png, "Write pictures of them (at least one) into this folder");
  c->add_option("--split", o->split, "Which split to draw from")
      ->check(CLI::IsMember({"train", "test"}))
      ->capture_default_str();
  c->add_option("--from", o->from, "First example to draw")->check(kNotNegative);
  c->footer(
      "Examples:\n"
      "  trm dataset info data/sudoku-extreme-1k-aug-1000\n"
      "  trm dataset info data/arc1 --show 3 --split test --png pictures");
  c->callback([o] {
    if (std::filesystem::is_regular_file(o->path)) {
      if (o->show || !o->png.empty())
        fail("[dataset] pictures are drawn from data sets, not from CSV files");
      return print_csv(*o);
    }
    print_folder(*o);
    if (o->show > 0 || !o->png.empty()) show_examples(*o);
  });
}

}  // namespace trm::cli
