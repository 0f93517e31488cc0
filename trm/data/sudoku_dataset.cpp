#include "trm/data/sudoku_dataset.h"

#include <charconv>
#include <stdexcept>
#include <string_view>
#include <unordered_set>

#include <fmt/format.h>

#include "trm/data/csv.h"
#include "trm/data/grid_dataset.h"
#include "trm/data/parallel.h"
#include "trm/io/text.h"

namespace trm {

std::vector<SudokuRow> read_sudoku_csv(const std::filesystem::path& file,
                                       std::optional<int64_t> min_difficulty,
                                       std::optional<int64_t> limit) {
  CsvReader csv(file);
  std::vector<std::string> fields;
  std::vector<SudokuRow> rows;
  if (!csv.next(fields)) csv.fail_here("empty; a header source,question,answer,rating is expected");
  if (fields.size() != 4 || fields[1] != "question" || fields[2] != "answer") {
    csv.fail_here("the header is not source,question,answer,rating");
  }
  while ((!limit || static_cast<int64_t>(rows.size()) < *limit) && csv.next(fields)) {
    if (fields.size() != 4) {
      csv.fail_here(fmt::format("4 fields expected, found {}", fields.size()));
    }
    SudokuRow row;
    auto& rating = fields[3];
    auto [end, error] = std::from_chars(rating.data(), rating.data() + rating.size(), row.rating);
    if (error != std::errc() || end != rating.data() + rating.size()) {
      csv.fail_here(fmt::format("the rating '{}' is not a whole number", printable(rating)));
    }
    try {
      row.pair = {parse_sudoku(fields[1]), parse_sudoku(fields[2])};
    } catch (const std::invalid_argument& e) {
      csv.fail_here(e.what());
    }
    if (!rows.empty() && row.pair.question.size != rows[0].pair.question.size) {
      csv.fail_here("a puzzle of another size than those before");
    }
    if (row.pair.answer.givens() != row.pair.answer.count()) csv.fail_here("the answer has blanks");
    if (auto why = first_conflict(row.pair.answer); !why.empty()) {
      csv.fail_here("the answer breaks the rules: " + why);
    }
    if (!keeps_givens(row.pair.question, row.pair.answer)) {
      csv.fail_here("the answer does not keep the question's givens");
    }
    if (!min_difficulty || row.rating >= *min_difficulty) rows.push_back(row);
  }
  return rows;
}

GeneratedSudoku generate_sudokus(int size, int64_t train, int64_t test, uint64_t seed, int givens,
                                 double min_rating, const Progress& progress) {
  if (train < 0 || test < 0 || train + test < 1 || train + test > 1 << 30) {
    throw std::invalid_argument(
        fmt::format("[sudoku] cannot generate {} and {} puzzles", train, test));
  }
  GeneratedSudoku out;
  std::unordered_set<std::string> seen;
  constexpr int64_t kChunk = 256;
  std::vector<std::optional<SudokuPair>> made(kChunk);
  int64_t kept = 0, total = train + test, tried = 0, last_kept = 0;
  for (uint64_t index = 0; kept < total; index += kChunk) {
    parallel_for(kChunk, [&](int64_t i) {
      auto at = static_cast<size_t>(i);
      made[at] = generate_sudoku(size, givens, seed, index + at);
      if (min_rating > 0 && rate_sudoku(made[at]->question) < min_rating) made[at].reset();
    });
    for (auto& pair : made) {
      ++tried;
      if (kept == total || !pair || !seen.insert(to_text(pair->question)).second) continue;
      (kept++ < train ? out.train : out.test).push_back(*pair);
      last_kept = tried;
    }
    if (tried - last_kept > 20000) {
      fail("[sudoku] only {} different {}x{} puzzles of this kind turned up (wanted {})", kept,
           size, size, total);
    }
    if (progress) progress("generating", kept, total);
  }
  return out;
}

namespace {

void append_tokens(const Sudoku& grid, std::vector<uint8_t>& out) {
  for (int i = 0; i < grid.count(); ++i) {
    out.push_back(static_cast<uint8_t>(grid.cells[static_cast<size_t>(i)] + 1));
  }
}

}  // namespace

void write_sudoku_dataset(const std::filesystem::path& output, std::vector<SudokuPair> train,
                          const std::vector<SudokuPair>& test, const SudokuDatasetOptions& options,
                          const Progress& progress) {
  NumpyMt19937 rng(options.seed);
  subsample(train, options.subsample_size, rng, "sudoku");
  check_splits(
      train, test, [](const SudokuPair& pair) { return pair.question.size; }, "sudoku");
  if (options.num_aug < 0 || options.num_aug > INT32_MAX) {
    fail("[sudoku] {} augmentations of each puzzle are impossible", options.num_aug);
  }
  auto split_of = [&rng](const std::vector<SudokuPair>& pairs, int64_t num_aug, bool as_int64) {
    GridSplit split{static_cast<int64_t>(pairs.size()), 1 + num_aug, as_int64, {}};
    split.append = [&rng, &pairs, num_aug](int64_t group, auto& inputs, auto& labels) {
      auto& pair = pairs[static_cast<size_t>(group)];
      append_tokens(pair.question, inputs);
      append_tokens(pair.answer, labels);
      for (int64_t i = 0; i < num_aug; ++i) {
        auto shuffle = SudokuShuffle::draw(pair.question.size, rng);
        append_tokens(shuffle(pair.question), inputs);
        append_tokens(shuffle(pair.answer), labels);
      }
    };
    return split;
  };
  bool as_int64 = options.reference_layout && options.num_aug > 0;
  write_grid_dataset(output, train[0].question.count(), train[0].question.size + 2,
                     split_of(train, options.num_aug, as_int64), split_of(test, 0, false),
                     progress);
}

}  // namespace trm
