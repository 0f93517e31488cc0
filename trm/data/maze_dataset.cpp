#include "trm/data/maze_dataset.h"

#include <stdexcept>
#include <string>
#include <unordered_set>

#include <fmt/format.h>

#include "trm/data/csv.h"
#include "trm/data/grid_dataset.h"
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

void write_maze_dataset(const std::filesystem::path& output, std::vector<MazePair> train,
                        const std::vector<MazePair>& test, const MazeDatasetOptions& options,
                        const Progress& progress) {
  NumpyMt19937 rng(options.seed);
  subsample(train, options.subsample_size, rng, "maze");
  check_splits(
      train, test, [](const MazePair& pair) { return pair.question.rows; }, "maze");
  auto split_of = [](const std::vector<MazePair>& pairs, int forms) {
    GridSplit split{static_cast<int64_t>(pairs.size()), forms, false, {}};
    split.append = [&pairs, forms](int64_t group, auto& inputs, auto& labels) {
      auto& pair = pairs[static_cast<size_t>(group)];
      for (int transform = 0; transform < forms; ++transform) {
        auto question = dihedral(pair.question, transform),
             answer = dihedral(pair.answer, transform);
        inputs.insert(inputs.end(), question.cells.begin(), question.cells.end());
        labels.insert(labels.end(), answer.cells.begin(), answer.cells.end());
      }
    };
    return split;
  };
  write_grid_dataset(output, static_cast<int>(train[0].question.cells.size()),
                     static_cast<int64_t>(kMazeCharacters.size()) + 1,
                     split_of(train, options.aug ? 8 : 1), split_of(test, 1), progress);
}

}  // namespace trm
