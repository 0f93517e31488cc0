#include "trm/data/puzzle_dataset.h"

#include <gmock/gmock.h>

#include "tests/data/data_test_util.h"

namespace trm {
namespace {

using testing::HasSubstr;

const test::MadeDataset kMade{{{2, 1}, {3}, {1, 1, 2}}};  // 3 groups, 6 puzzles, 10 examples

TEST(Metadata, TextIsTheReferences) {
  DatasetMetadata m;
  m.vocab_size = 11;
  m.seq_len = 81;
  m.num_puzzle_identifiers = 1;
  m.total_groups = m.total_puzzles = 20;
  m.mean_puzzle_examples = 1;
  m.sets = {"all"};
  EXPECT_EQ(
      metadata_text(m),
      "{\"pad_id\": 0, \"ignore_label_id\": 0, \"blank_identifier_id\": 0, \"vocab_size\": 11, "
      "\"seq_len\": 81, \"num_puzzle_identifiers\": 1, \"total_groups\": 20, "
      "\"mean_puzzle_examples\": 1.0, \"total_puzzles\": 20, \"sets\": [\"all\"]}");
  m.mean_puzzle_examples = 4.1458115825446;
  EXPECT_THAT(metadata_text(m), HasSubstr(": 4.1458115825446,"));
}

TEST(PuzzleDataset, LoadsWhatWasWritten) {
  TempDir dir;
  test::write_made(kMade, dir.path());
  PuzzleDataset data({dir.path()}, "train");
  EXPECT_EQ(data.groups(), 3);
  EXPECT_EQ(data.examples(), 10);
  EXPECT_EQ(data.metadata().num_puzzle_identifiers, 7);
  EXPECT_EQ(data.identifier_of(0), 1);
  EXPECT_EQ(data.identifier_of(2), 2);
  EXPECT_EQ(data.identifier_of(9), 6);
  Batch b = data.empty_batch(2);
  data.fill_row(1, data.identifier_of(1), 0, b);
  EXPECT_THAT(b.inputs, testing::ElementsAre(5, 6, 7, 8, 0, 0, 0, 0));
  EXPECT_THAT(b.labels, testing::ElementsAre(6, 7, 8, -100, -100, -100, -100, -100));
  EXPECT_THAT(b.puzzle_identifiers, testing::ElementsAre(1, 0));
}

TEST(PuzzleDataset, SeveralFoldersGetIdentifiersOfTheirOwn) {
  TempDir a, b;
  test::write_made(kMade, a.path());
  test::write_made({{{1}, {2}}}, b.path());
  PuzzleDataset data({a.path(), b.path()}, "train");
  EXPECT_EQ(data.groups(), 5);
  EXPECT_EQ(data.examples(), 13);
  EXPECT_EQ(data.metadata().num_puzzle_identifiers, 9);
  EXPECT_EQ(data.metadata().total_puzzles, 8);
  EXPECT_DOUBLE_EQ(data.metadata().mean_puzzle_examples, 13.0 / 8);
  EXPECT_EQ(data.identifier_of(10), 7);
  EXPECT_EQ(data.identifier_of(12), 8);
  auto [set, group] = data.locate_group(4);
  EXPECT_EQ(set, &data.sets()[1]);
  EXPECT_EQ(group, 1);
}

TEST(PuzzleDataset, FoldersThatDoNotFitTogetherAreRefused) {
  TempDir a, b;
  test::write_made(kMade, a.path());
  test::write_made({{{1}}, 5}, b.path());
  EXPECT_THAT(error_of([&] {
                PuzzleDataset({a.path(), b.path()}, "train");
              }),
              HasSubstr("\"seq_len\""));
  EXPECT_THAT(error_of([&] { PuzzleDataset({}, "train"); }), HasSubstr("no data folder"));
}

/// Writes kMade, lets `damage` change it, and returns the error of loading.
template <class Damage>
std::string damaged(Damage&& damage) {
  TempDir dir;
  auto m = test::write_made(kMade, dir.path());
  damage(dir / "train", m);
  write_file_atomically(dir / "train/dataset.json", metadata_text(m));
  return error_of([&] { PuzzleDataset({dir.path()}, "train"); });
}

void put(const std::filesystem::path& dir, const char* name, std::vector<int32_t> v) {
  int64_t shape[] = {static_cast<int64_t>(v.size())};
  write_npy<int32_t>(dir / name, v, shape);
}

TEST(PuzzleDataset, DisagreementsAreNamed) {
  using Dir = const std::filesystem::path&;
  using Meta = DatasetMetadata&;
  EXPECT_EQ(damaged([](Dir, Meta) {}), "");
  EXPECT_THAT(damaged([](Dir, Meta m) { m.seq_len = 5; }), HasSubstr("(examples, 5)"));
  EXPECT_THAT(damaged([](Dir, Meta m) { m.total_groups = 4; }), HasSubstr("says 4 groups"));
  EXPECT_THAT(damaged([](Dir, Meta m) { m.total_puzzles = 9; }), HasSubstr("says 9 puzzles"));
  EXPECT_THAT(damaged([](Dir, Meta m) { m.mean_puzzle_examples = 3; }), HasSubstr("says 3"));
  EXPECT_THAT(damaged([](Dir, Meta m) { m.num_puzzle_identifiers = 6; }),
              HasSubstr("element 5 is 6, outside 0..5"));
  EXPECT_THAT(damaged([](Dir, Meta m) { m.sets = {"other"}; }), HasSubstr("other__inputs.npy"));
  EXPECT_THAT(damaged([](Dir, Meta m) { m.sets = {"../all"}; }), HasSubstr("not a set's name"));
  EXPECT_THAT(damaged([](Dir d, Meta) {
                put(d, "all__puzzle_indices.npy", {0, 2, 3, 6, 7, 8, 9});
              }),
              HasSubstr("ends at 9 and there are 10 examples"));
  EXPECT_THAT(damaged([](Dir d, Meta) {
                put(d, "all__puzzle_indices.npy", {0, 3, 2, 6, 7, 8, 10});
              }),
              HasSubstr("element 2 is 2 after 3"));
  EXPECT_THAT(damaged([](Dir d, Meta) {
                put(d, "all__puzzle_indices.npy", {1, 2, 3, 6, 7, 8, 10});
              }),
              HasSubstr("starts at 1"));
  EXPECT_THAT(damaged([](Dir d, Meta) {
                put(d, "all__group_indices.npy", {0, 2, 3, 7});
              }),
              HasSubstr("ends at 7 and there are 6 puzzles"));
  EXPECT_THAT(damaged([](Dir d, Meta) {
                put(d, "all__puzzle_identifiers.npy", {1, 2});
              }),
              HasSubstr("(6,)"));
  EXPECT_THAT(damaged([](Dir d, Meta) {
                put(d, "all__inputs.npy", {1, 2});
              }),
              HasSubstr("(examples, 4)"));
  EXPECT_THAT(damaged([](Dir d, Meta) { std::filesystem::remove(d / "all__labels.npy"); }),
              HasSubstr("No such file"));
}

TEST(PuzzleDataset, TokensOutsideTheVocabularyAreFound) {
  TempDir dir;
  auto m = test::write_made({{{1}, {1}}}, dir.path());
  int64_t shape[] = {2, 4};
  std::vector<uint8_t> tokens{1, 2, 3, 4, 5, 6, 16, 7};
  write_npy<uint8_t>(dir / "train/all__inputs.npy", tokens, shape);
  PuzzleDataset data({dir.path()}, "train");  // mapped: found when the row is read
  Batch b = data.empty_batch(1);
  data.fill_row(0, 1, 0, b);
  EXPECT_THAT(error_of([&] { data.fill_row(1, 1, 0, b); }), HasSubstr("row 1 holds the token 16"));
  std::vector<int64_t> wide(tokens.begin(), tokens.end());
  write_npy<int64_t>(dir / "train/all__inputs.npy", wide, shape);
  EXPECT_THAT(error_of([&] { PuzzleDataset({dir.path()}, "train"); }),
              HasSubstr("element 6 is 16"));
}

TEST(Metadata, WrongFilesAreRefused) {
  TempDir dir;
  auto file = dir / "dataset.json";
  auto why = [&](const std::string& text) {
    write_file(file, text);
    return error_of([&] { read_metadata(file); });
  };
  EXPECT_THAT(error_of([&] { read_metadata(dir / "none.json"); }), HasSubstr("no such file"));
  EXPECT_THAT(why(""), HasSubstr("not valid JSON"));
  EXPECT_THAT(why("[1]"), HasSubstr("not a JSON object"));
  EXPECT_THAT(why("{\"vocab_size\": \"x\"}"), HasSubstr("not a whole number"));
  EXPECT_THAT(why("{\"vocab_size\": 1e999}"), HasSubstr("[json]"));
  EXPECT_THAT(why("{\"vocab_size\": 18446744073709551615}"), HasSubstr("too large"));
  EXPECT_THAT(why("{\"vocab_size\": 0}"), HasSubstr("outside 1.."));
  EXPECT_THAT(why("{\"vocab_size\": 5}"), HasSubstr("lacks \"seq_len\""));
  EXPECT_THAT(why(std::string(100000, '[')), HasSubstr("64 levels"));
}

}  // namespace
}  // namespace trm
