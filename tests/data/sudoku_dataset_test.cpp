#include "trm/data/sudoku_dataset.h"

#include <set>

#include <gmock/gmock.h>

#include "tests/data/data_test_util.h"
#include "tests/data/sha256.h"
#include "trm/data/csv.h"

namespace trm {
namespace {

using test::golden;
using testing::ElementsAre;
using testing::HasSubstr;

std::vector<SudokuPair> some(int n, int size = 4, uint64_t seed = 0) {
  return generate_sudokus(size, n, 0, seed).train;
}

TEST(Csv, QuotesAndLineEnds) {
  std::istringstream in("a,\"b,\"\"c\"\"\",\r\n\n\"x\ny\",,z\rlast");
  CsvReader csv(in, "x.csv");
  std::vector<std::string> f;
  ASSERT_TRUE(csv.next(f));
  EXPECT_THAT(f, ElementsAre("a", "b,\"c\"", ""));
  EXPECT_EQ(csv.line(), 1);
  ASSERT_TRUE(csv.next(f));
  EXPECT_THAT(f, ElementsAre("x\ny", "", "z"));
  EXPECT_EQ(csv.line(), 3);
  ASSERT_TRUE(csv.next(f));
  EXPECT_THAT(f, ElementsAre("last"));
  EXPECT_EQ(csv.line(), 5);
  EXPECT_FALSE(csv.next(f));
}

TEST(Csv, BrokenInputIsNamedByLine) {
  std::istringstream open("a,b\n\"c,d\n"), lengthy("a\n" + std::string(2 << 20, 'x'));
  std::vector<std::string> f;
  CsvReader a(open, "x.csv"), b(lengthy, "x.csv");
  a.next(f);
  EXPECT_THAT(error_of([&] { a.next(f); }), HasSubstr("x.csv line 2: a quote is not closed"));
  b.next(f);
  EXPECT_THAT(error_of([&] { b.next(f); }), HasSubstr("line 2: longer"));
}

TEST(SudokuCsv, RowsAreCheckedByLine) {
  TempDir dir;
  auto file = dir / "x.csv";
  const std::string head = "source,question,answer,rating\n";
  auto why = [&](const std::string& text) {
    write_file(file, text);
    return error_of([&] { read_sudoku_csv(file); });
  };
  auto pair = generate_sudoku(4, 0, 0, 0);
  std::string q = to_text(pair.question), a = to_text(pair.answer);
  std::string row = "s," + q + "," + a + ",";
  EXPECT_EQ(why(head + row + "7\n"), "");
  EXPECT_EQ(read_sudoku_csv(file).at(0).rating, 7);
  EXPECT_EQ(read_sudoku_csv(file).at(0).pair.question, pair.question);
  write_file(file, head + row + "7\n" + row + "9\n");
  EXPECT_EQ(read_sudoku_csv(file, 8).size(), 1u);
  EXPECT_EQ(read_sudoku_csv(file, std::nullopt, 1).size(), 1u);
  EXPECT_THAT(why(""), HasSubstr("empty"));
  EXPECT_THAT(why("question,answer\n"), HasSubstr("header"));
  EXPECT_THAT(why(head + row + "7\n" + "s," + q + "\n"),
              HasSubstr("line 3: 4 fields expected, found 2"));
  EXPECT_THAT(why(head + row + "x\n"), HasSubstr("line 2: the rating 'x'"));
  EXPECT_THAT(why(head + "s,123," + a + ",1\n"), HasSubstr("line 2: [sudoku] a puzzle has 81"));
  EXPECT_THAT(why(head + "s," + q + "," + q + ",1\n"), HasSubstr("the answer has blanks"));
  EXPECT_THAT(why(head + "s," + q + "," + std::string(16, '1') + ",1\n"),
              HasSubstr("breaks the rules: 1 stands twice in row 1"));
  std::string swapped = a;  // digits 1 and 2 exchanged: valid, and not this question's answer
  for (char& c : swapped) c = c == '1' ? '2' : c == '2' ? '1' : c;
  EXPECT_THAT(why(head + "s," + q + "," + swapped + ",1\n"),
              HasSubstr("keep the question's givens"));
  EXPECT_THAT(
      why(head + row + "1\ns," + std::string(81, '.') + "," + std::string(81, '1') + ",1\n"),
      HasSubstr("another size"));
  EXPECT_THAT(error_of([&] { read_sudoku_csv(dir / "none.csv"); }), HasSubstr("no such file"));
}

TEST(SudokuDataset, WhatIsWrittenIsReadBack) {
  TempDir dir;
  auto train = some(5, 6), test = some(3, 6, 1);
  write_sudoku_dataset(dir / "d", train, test, {.num_aug = 2});
  PuzzleDataset data({dir / "d"}, "train"), held({dir / "d"}, "test");
  EXPECT_EQ(data.examples(), 15);
  EXPECT_EQ(data.groups(), 5);
  EXPECT_EQ(data.metadata().vocab_size, 8);
  EXPECT_EQ(data.metadata().seq_len, 36);
  EXPECT_EQ(held.examples(), 3);
  Batch b = data.empty_batch(1);
  for (int64_t i = 0; i < 15; ++i) {
    data.fill_row(i, 0, 0, b);
    Sudoku question = train[0].question, answer = question;
    for (size_t c = 0; c < 36; ++c) {
      question.cells[c] = static_cast<uint8_t>(b.inputs[c] - 1);
      answer.cells[c] = static_cast<uint8_t>(b.labels[c] - 1);
    }
    EXPECT_TRUE(is_solved(answer));
    EXPECT_TRUE(keeps_givens(question, answer));
    EXPECT_EQ(solve_sudoku(question).found, 1);
    if (i % 3 == 0) {
      EXPECT_EQ(question, train[static_cast<size_t>(i / 3)].question);
    }
  }
  EXPECT_EQ(read_file(dir / "d/identifiers.json"), "[\"<blank>\"]");
}

TEST(SudokuDataset, LargeSetsAreWrittenInPieces) {
  TempDir dir;
  auto train = some(20, 9), test = some(2, 9, 1);
  write_sudoku_dataset(dir / "d", train, test, {.num_aug = 1500});
  PuzzleDataset data({dir / "d"}, "train");
  EXPECT_EQ(data.examples(), 20 * 1501);
  Batch b = data.empty_batch(1);
  for (int64_t i = 0; i < 20; ++i) {
    data.fill_row(i * 1501, 0, 0, b);
    Sudoku question;
    for (size_t c = 0; c < 81; ++c) question.cells[c] = static_cast<uint8_t>(b.inputs[c] - 1);
    EXPECT_EQ(question, train[static_cast<size_t>(i)].question);
  }
}

TEST(SudokuDataset, LayoutsHoldTheSameNumbers) {
  TempDir dir;
  auto train = some(6), test = some(2, 4, 1);
  SudokuDatasetOptions o{.subsample_size = 4, .num_aug = 3, .seed = 9};
  write_sudoku_dataset(dir / "compact", train, test, o);
  o.reference_layout = true;
  write_sudoku_dataset(dir / "reference", train, test, o);
  NpyFile a(dir / "compact/train/all__inputs.npy"), b(dir / "reference/train/all__inputs.npy");
  EXPECT_EQ(a.header().dtype(), "uint8");
  EXPECT_EQ(b.header().dtype(), "int64");
  EXPECT_EQ(a.header().shape, b.header().shape);
  EXPECT_EQ(a.header().shape[0], 16);
  EXPECT_EQ(a.read<int64_t>(), b.read<int64_t>());
}

TEST(SudokuDataset, ExistingFoldersAreReplacedWholeOrRefused) {
  TempDir dir;
  auto train = some(3), test = some(2, 4, 1);
  auto out = dir / "d";
  write_sudoku_dataset(out, train, test, {});
  auto before = read_file(out / "train/all__inputs.npy");
  // A failure leaves the old set as it was, and nothing beside it.
  EXPECT_THAT(error_of([&] { write_sudoku_dataset(out, {}, test, {}); }), HasSubstr("no puzzles"));
  EXPECT_EQ(read_file(out / "train/all__inputs.npy"), before);
  write_sudoku_dataset(out, train, test, {.num_aug = 1});
  EXPECT_EQ(PuzzleDataset({out}, "train").examples(), 6);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir.path()), {}), 1);
  // Someone's own files are not touched.
  write_file(dir / "mine/notes.txt", "x");
  EXPECT_THAT(error_of([&] { write_sudoku_dataset(dir / "mine", train, test, {}); }),
              HasSubstr("holds other things"));
  write_file(dir / "file", "x");
  EXPECT_THAT(error_of([&] { write_sudoku_dataset(dir / "file", train, test, {}); }),
              HasSubstr("holds other things"));
  EXPECT_EQ(read_file(dir / "mine/notes.txt"), "x");
}

TEST(StagedFolder, AskedForMoreThanTheDiskHas) {
  TempDir dir;
  EXPECT_THAT(error_of([&] { StagedFolder(dir / "d", uint64_t{1} << 60); }), HasSubstr("MB free"));
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

TEST(GenerateSudokus, DistinctHeldOutAndLimited) {
  auto made = generate_sudokus(4, 300, 50, 3);
  EXPECT_EQ(made.train.size(), 300u);
  EXPECT_EQ(made.test.size(), 50u);
  std::set<std::string> all;
  for (auto* part : {&made.train, &made.test}) {
    for (auto& pair : *part) all.insert(to_text(pair.question));
  }
  EXPECT_EQ(all.size(), 350u);
  EXPECT_EQ(to_text(generate_sudokus(4, 10, 0, 3).train[9].question),
            to_text(made.train[9].question));
  // Of full 4x4 grids there are 288.
  EXPECT_THAT(error_of([] { generate_sudokus(4, 300, 0, 0, 16); }),
              HasSubstr("only 288 different"));
  for (auto& pair : generate_sudokus(9, 5, 0, 0, 0, 1.0).train) {
    EXPECT_GE(rate_sudoku(pair.question), 1.0);
  }
}

// ---- against the recorded reference ----

TEST(SudokuDatasetGolden, FilesAreTheReferencesByteForByte) {
  if (!std::filesystem::exists(golden("dataset"))) GTEST_SKIP() << "needs ../shared/golden/dataset";
  struct Case {
    const char* name;
    SudokuDatasetOptions options;
  };
  for (auto& c : {Case{"sudoku_seed0_aug3", {.num_aug = 3}}, Case{"sudoku_seed0_noaug", {}},
                  Case{"sudoku_seed7_aug3", {.num_aug = 3, .seed = 7}},
                  Case{"sudoku_seed0_sub8_aug2", {.subsample_size = 8, .num_aug = 2}}}) {
    SCOPED_TRACE(c.name);
    TempDir dir;
    auto pairs = [&](const char* split) {
      std::vector<SudokuPair> out;
      auto file = golden(fmt::format("dataset/{}.{}.csv", c.name, split));
      for (auto& row : read_sudoku_csv(file)) out.push_back(row.pair);
      return out;
    };
    auto options = c.options;
    options.reference_layout = true;
    write_sudoku_dataset(dir / "d", pairs("train"), pairs("test"), options);
    test::expect_recorded_files(golden(fmt::format("dataset/{}.json", c.name)), dir / "d");
  }
}

// The recorded test split comes from 20,000 rows, of which ../shared has half; training comes
// first.
TEST(SudokuDatasetGolden, TheWholeTrainingSetWithTwentyForms) {
  auto csv = test::shared_data("sudoku-extreme-1k");
  if (!std::filesystem::exists(csv)) GTEST_SKIP() << "needs ../shared/data/sudoku-extreme-1k";
  TempDir dir;
  std::vector<SudokuPair> train, test;
  for (auto& row : read_sudoku_csv(csv / "train.csv")) train.push_back(row.pair);
  for (auto& row : read_sudoku_csv(csv / "test_hard_10k.csv", {}, 5)) test.push_back(row.pair);
  write_sudoku_dataset(dir / "d", train, test, {.num_aug = 20, .reference_layout = true});
  test::expect_recorded_files(golden("dataset/sudoku_1k_aug20_seed0_sha.json"), dir / "d", "train");
}

}  // namespace
}  // namespace trm
