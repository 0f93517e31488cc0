#include "trm/data/maze_dataset.h"

#include <stdexcept>
#include <string>
#include <unordered_set>
#include <utility>

#include <fmt/format.h>

#include "trm/data/csv.h"
#include "trm/data/numpy_random.h"
#include "trm/data/parallel.h"
#include "trm/io/text.h"

namespace trm {

std::vector<MazePair> read_maze_csv(const std::filesystem::path& file,
                                    std::optional<int64_t> limit) {
  CsvReader csv(file);
  std::vector<std::string> fields;
  std::vector<MazePair> rows;
  if (!csv.next(fields) || fields.size() != 4 || fields[1] != "question" || fields[2] != "answer") {
    csv.fail_here("the header is not source,question,answer,rating");
  }
  while ((!limit || static_cast<int64_t>(rows.size()) < *limit) && csv.next(fields)) {
    if (fields.size() != 4) {
      csv.fail_here(fmt::format("4 fields expected, found {}", fields.size()));
    }
    MazePair pair;
    try {
      pair = {parse_maze(fields[1]), parse_maze(fields[2])};
    } catch (const std::invalid_argument& e) {
      csv.fail_here(e.what());
    }
    if (pair.question.rows > 256) csv.fail_here("a side above 256");
    if (!rows.empty() && pair.question.rows != rows[0].question.rows) {
      csv.fail_here("a maze of another size than those before");
    }
    if (auto why = maze_problem(pair.question); !why.empty()) csv.fail_here(why);
    if (pair.answer.rows != pair.question.rows) csv.fail_here("the answer has another size");
    for (size_t i = 0; i < pair.answer.cells.size(); ++i) {
      bool marked = pair.answer.cells[i] == kPath && pair.question.cells[i] == kOpen;
      if (!marked && pair.answer.cells[i] != pair.question.cells[i]) {
        csv.fail_here(fmt::format("cell {} of the answer differs from the question", i + 1));
      }
    }
    rows.push_back(std::move(pair));
  }
  return rows;
}

bool is_maze_csv(const std::filesystem::path& file) {
  CsvReader csv(file);
  std::vector<std::string> fields;
  bool rows = csv.next(fields) && csv.next(fields);
  if (!rows || fields.size() != 4) csv.fail_here("no row of source,question,answer,rating");
  return fields[1].find_first_of("SG#") != std::string::npos;
}

GeneratedMazes generate_mazes(int side, int min_length, int64_t train, int64_t test, uint64_t seed,
                              const Progress& progress) {
  if (train < 0 || test < 0 || train + test < 1 || train + test > 1 << 24) {
    throw std::invalid_argument(fmt::format("[maze] cannot generate {} and {} mazes", train, test));
  }
  GeneratedMazes out;
  std::unordered_set<std::string> seen;
  constexpr int64_t kChunk = 32;
  std::vector<MazePair> made(kChunk);
  int64_t kept = 0, total = train + test, repeated = 0;
  for (uint64_t index = 0; kept < total;) {
    int64_t n = std::min(kChunk, total - kept);
    parallel_for(n, [&](int64_t i) {
      made[static_cast<size_t>(i)] =
          generate_maze(side, min_length, seed, index + static_cast<uint64_t>(i));
    });
    index += static_cast<uint64_t>(n);
    for (int64_t i = 0; i < n; ++i) {
      auto& pair = made[static_cast<size_t>(i)];
      if (!seen.insert(to_text(pair.question)).second) {
        if (++repeated > 20000 + kept) {
          fail("[maze] only {} different mazes of this kind turned up (wanted {})", kept, total);
        }
        continue;
      }
      (kept++ < train ? out.train : out.test).push_back(std::move(pair));
    }
    if (progress) progress("generating", kept, total);
  }
  return out;
}

namespace {

void write_split(const std::filesystem::path& folder, const std::vector<MazePair>& pairs,
                 int copies, const Progress& progress) {
  std::filesystem::create_directory(folder);
  int side = pairs[0].question.rows, cells = side * side;
  auto puzzles = static_cast<int64_t>(pairs.size()) * copies;
  TokenWriter inputs(folder / "all__inputs.npy", puzzles, cells, false);
  TokenWriter labels(folder / "all__labels.npy", puzzles, cells, false);
  std::vector<int32_t> indices{0}, groups{0};
  for (auto& pair : pairs) {
    for (int transform = 0; transform < copies; ++transform) {
      inputs.append(dihedral(pair.question, transform).cells.data(), 1);
      labels.append(dihedral(pair.answer, transform).cells.data(), 1);
      indices.push_back(indices.back() + 1);
    }
    groups.push_back(indices.back());
    if (progress) progress("writing", indices.back(), puzzles);
  }
  inputs.commit();
  labels.commit();
  DatasetMetadata m;
  m.vocab_size = static_cast<int64_t>(kMazeCharacters.size()) + 1;
  m.seq_len = cells;
  m.num_puzzle_identifiers = 1;
  m.total_puzzles = static_cast<int64_t>(pairs.size());  // the reference counts groups here
  m.mean_puzzle_examples = 1;
  write_indices(folder, m, std::vector<int32_t>(static_cast<size_t>(puzzles), 0), indices, groups);
}

}  // namespace

void write_maze_dataset(const std::filesystem::path& output, std::vector<MazePair> train,
                        const std::vector<MazePair>& test, const MazeDatasetOptions& options,
                        const Progress& progress) {
  if (options.subsample_size && *options.subsample_size < static_cast<int64_t>(train.size())) {
    if (*options.subsample_size < 1) throw std::invalid_argument("[maze] the subsample is empty");
    NumpyMt19937 rng(options.seed);
    std::vector<MazePair> chosen;
    auto n = static_cast<size_t>(*options.subsample_size);
    for (int32_t i : rng.choice(train.size(), n)) chosen.push_back(train[static_cast<size_t>(i)]);
    train = std::move(chosen);
  }
  for (auto* split : {&std::as_const(train), &test}) {
    if (split->empty())
      fail("[maze] the {} split has no mazes", split == &test ? "test" : "training");
    for (auto& pair : *split) {
      if (pair.question.rows != train[0].question.rows) fail("[maze] mazes of several sizes");
    }
  }
  int copies = options.aug ? 8 : 1, cells = static_cast<int>(train[0].question.cells.size());
  if (static_cast<int64_t>(train.size()) > INT32_MAX / 8) fail("[maze] too many mazes");
  auto puzzles = static_cast<int64_t>(train.size()) * copies;
  auto tests = static_cast<int64_t>(test.size());
  StagedFolder staged(output,
                      set_bytes(puzzles, puzzles, cells, 1) + set_bytes(tests, tests, cells, 1));
  write_split(staged.path() / "train", train, copies, progress);
  write_split(staged.path() / "test", test, 1, progress);
  write_identifiers(staged.path(), {"<blank>"});
  staged.commit();
}

}  // namespace trm
