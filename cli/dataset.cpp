// trm dataset sudoku|maze|arc|info: the reference's data sets, from its sources or made here.
#include <cstdio>
#include <memory>
#include <optional>
#include <string>

#include <fmt/format.h>

#include "cli/checks.h"
#include "cli/commands.h"
#include "cli/dataset_progress.h"
#include "trm/data/arc_dataset.h"
#include "trm/data/hub.h"
#include "trm/data/maze_dataset.h"
#include "trm/data/sudoku_dataset.h"
#include "trm/io/text.h"

namespace trm::cli {

namespace {

/// The file `name` of --input-dir, or of the data set on the hub.
std::filesystem::path source_file(const std::string& input_dir, const std::string& source_repo,
                                  const char* name, const Progress& progress) {
  if (!input_dir.empty()) return std::filesystem::path(input_dir) / name;
  return hub_dataset_file(source_repo, name, hub_options_from_environment(), progress);
}

struct SudokuCommand {
  std::string source_repo = "sapientinc/sudoku-extreme", input_dir, output_dir, layout = "compact";
  std::optional<int64_t> subsample_size, min_difficulty, generate, test_size;
  int64_t num_aug = 0;
  uint32_t seed = 0;
  int size = 9, givens = 0;
  double min_rating = 0;

  void run() const {
    auto progress = dataset_progress();
    SudokuDatasetOptions options{subsample_size, num_aug, seed, layout == "reference"};
    std::vector<SudokuPair> train, test;
    if (generate) {
      auto made = generate_sudokus(size, *generate,
                                   test_size.value_or(std::max<int64_t>(1, *generate / 10)), seed,
                                   givens, min_rating, progress);
      train = std::move(made.train);
      test = std::move(made.test);
    } else {
      auto file = [&](const char* name) {
        return source_file(input_dir, source_repo, name, progress);
      };
      for (auto& row : read_sudoku_csv(file("train.csv"), min_difficulty))
        train.push_back(row.pair);
      for (auto& row : read_sudoku_csv(file("test.csv"), min_difficulty, test_size)) {
        test.push_back(row.pair);
      }
    }
    write_sudoku_dataset(output_dir, train, test, options, progress);
    auto groups =
        std::min<int64_t>(subsample_size.value_or(INT64_MAX), static_cast<int64_t>(train.size()));
    fmt::print("{}: {} training puzzles x {}, {} test puzzles\n", printable(output_dir), groups,
               1 + num_aug, test.size());
  }
};

void add_sudoku(CLI::App& parent) {
  auto o = std::make_shared<SudokuCommand>();
  auto* c = parent.add_subcommand("sudoku", "Sudoku from CSV files or generated");
  c->add_option("--output-dir", o->output_dir, "Folder to write")->required();
  c->add_option("--source-repo", o->source_repo, "Data set on the Hugging Face hub")
      ->capture_default_str();
  c->add_option("--input-dir", o->input_dir, "Folder with train.csv and test.csv instead");
  c->add_option("--subsample-size", o->subsample_size, "Training puzzles taken at random")
      ->check(kPositive);
  c->add_option("--min-difficulty", o->min_difficulty, "Leave out rows with a lower rating");
  c->add_option("--num-aug", o->num_aug, "Augmented copies of each training puzzle")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 20));
  c->add_option("--generate", o->generate, "Make this many training puzzles instead of reading")
      ->check(kPositive)
      ->excludes("--input-dir");
  c->add_option("--test-size", o->test_size,
                "Test puzzles (generated: a tenth; read: the first so many of test.csv)")
      ->check(kPositive);
  c->add_option("--size", o->size, "Side of generated puzzles")->check(CLI::IsMember({4, 6, 9}));
  c->add_option("--givens", o->givens,
                "Stop removing givens at this number (0: as few as possible)")
      ->check(CLI::Range(0, 81));
  c->add_option("--min-rating", o->min_rating,
                "Keep generated puzzles that need this many guesses");
  c->add_option("--seed", o->seed, "Seed of generation, subsampling and augmentation")
      ->capture_default_str();
  c->add_option("--layout", o->layout,
                "compact: uint8 tokens; reference: the reference's types, byte for byte")
      ->check(CLI::IsMember({"compact", "reference"}))
      ->capture_default_str();
  c->footer(
      "Examples:\n"
      "  trm dataset sudoku --input-dir csv --output-dir data/sudoku --subsample-size 1000 "
      "--num-aug 1000\n"
      "  trm dataset sudoku --generate 1000 --size 4 --seed 0 --output-dir data/sudoku-4x4");
  c->callback([o] { o->run(); });
}

struct MazeCommand {
  std::string source_repo = "sapientinc/maze-30x30-hard-1k", input_dir, output_dir;
  std::optional<int64_t> subsample_size, generate, test_size;
  bool aug = false;
  uint32_t seed = 0;
  int side = 30, min_length = 109;

  void run() const {
    auto progress = dataset_progress();
    std::vector<MazePair> train, test;
    if (generate) {
      auto made =
          generate_mazes(side, min_length, *generate,
                         test_size.value_or(std::max<int64_t>(1, *generate / 10)), seed, progress);
      train = std::move(made.train);
      test = std::move(made.test);
    } else {
      auto file = [&](const char* name) {
        return source_file(input_dir, source_repo, name, progress);
      };
      train = read_maze_csv(file("train.csv"));
      test = read_maze_csv(file("test.csv"), test_size);
    }
    write_maze_dataset(output_dir, train, test, {subsample_size, aug, seed}, progress);
    auto groups =
        std::min<int64_t>(subsample_size.value_or(INT64_MAX), static_cast<int64_t>(train.size()));
    fmt::print("{}: {} training mazes x {}, {} test mazes\n", printable(output_dir), groups,
               aug ? 8 : 1, test.size());
  }
};

void add_maze(CLI::App& parent) {
  auto o = std::make_shared<MazeCommand>();
  auto* c = parent.add_subcommand("maze", "Mazes from CSV files or generated");
  c->add_option("--output-dir", o->output_dir, "Folder to write")->required();
  c->add_option("--source-repo", o->source_repo, "Data set on the Hugging Face hub")
      ->capture_default_str();
  c->add_option("--input-dir", o->input_dir, "Folder with train.csv and test.csv instead");
  c->add_option("--subsample-size", o->subsample_size, "Training mazes taken at random")
      ->check(kPositive);
  c->add_flag("--aug,!--no-aug", o->aug, "Add the 8 symmetries of each training maze");
  c->add_option("--generate", o->generate, "Make this many training mazes instead of reading")
      ->check(kPositive)
      ->excludes("--input-dir");
  c->add_option("--test-size", o->test_size,
                "Test mazes (generated: a tenth; read: the first so many of test.csv)")
      ->check(kPositive);
  c->add_option("--size", o->side, "Side of generated mazes")
      ->check(CLI::Range(2, 32))
      ->capture_default_str();
  c->add_option("--min-length", o->min_length, "Fewest steps of a generated maze's shortest path")
      ->check(kPositive)
      ->capture_default_str();
  c->add_option("--seed", o->seed, "Seed of generation and subsampling")->capture_default_str();
  c->footer(
      "Examples:\n"
      "  trm dataset maze --input-dir csv --output-dir data/maze-30x30-hard-1k\n"
      "  trm dataset maze --generate 1000 --test-size 1000 --output-dir data/maze-own");
  c->callback([o] { o->run(); });
}

struct ArcCommand {
  ArcDatasetOptions options;
  std::string output_dir;

  void run() const {
    auto report = write_arc_dataset(output_dir, options, dataset_progress());
    for (auto& subset : report.without_solutions) {
      fmt::print("{}: no solutions file, its missing test outputs are one black cell\n",
                 printable(subset));
    }
    if (!report.not_full.empty()) {
      fmt::print("{} tasks have fewer than {} different augmentations\n", report.not_full.size(),
                 options.num_aug);
    }
    fmt::print(
        "{}: {} tasks, {} puzzle identifiers (<blank> included), {} training and {} test "
        "examples\n",
        printable(output_dir), report.tasks, report.identifiers, report.train_examples,
        report.test_examples);
  }
};

void add_arc(CLI::App& parent) {
  auto o = std::make_shared<ArcCommand>();
  auto* c = parent.add_subcommand("arc", "ARC-AGI from its JSON files");
  c->add_option(
       "--input-file-prefix", o->options.input_file_prefix,
       "Start of the files' names: PREFIX_SUBSET_challenges.json, PREFIX_SUBSET_solutions.json")
      ->required();
  c->add_option("--output-dir", o->output_dir, "Folder to write")->required();
  c->add_option("--subsets", o->options.subsets, "Subsets, training ones first")->required();
  c->add_option("--test-set-name", o->options.test_set_name, "Subset whose test pairs are held out")
      ->required();
  c->add_option("--test-set-name2", o->options.test_set_name2, "A second such subset");
  c->add_option("--seed", o->options.seed, "Seed of all random choices")->capture_default_str();
  c->add_option("--num-aug", o->options.num_aug, "Augmented forms of each task")
      ->capture_default_str();
  c->add_option("--puzzle-identifiers-start", o->options.puzzle_identifiers_start,
                "First identifier, to leave room for another data set's")
      ->capture_default_str();
  c->footer(
      "Example:\n"
      "  trm dataset arc --input-file-prefix kaggle/combined/arc-agi --output-dir "
      "data/arc1concept-aug-1000 \\\n"
      "    --subsets training evaluation concept --test-set-name evaluation");
  c->callback([o] { o->run(); });
}

}  // namespace

void add_dataset(CLI::App& app) {
  auto* c = app.add_subcommand("dataset", "Build data sets in the reference's layout");
  c->require_subcommand(1);
  add_sudoku(*c);
  add_maze(*c);
  add_arc(*c);
  add_dataset_info(*c);
}

}  // namespace trm::cli
