#include "trm/data/sudoku.h"

#include <set>

#include <gmock/gmock.h>

#include "tests/data/data_test_util.h"

namespace trm {
namespace {

using testing::HasSubstr;

const char* kEasy =
    "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79";
const char* kEasyAnswer =
    "534678912672195348198342567859761423426853791713924856961537284287419635345286179";

/// Counts solutions by trying the digits that the rules allow, at the cell with the fewest: no
/// propagation, and nothing in common with the solver.
int count_plainly(Sudoku s, int most = 2) {
  int best = -1, fewest = 10;
  std::vector<uint8_t> digits;
  for (int cell = 0; cell < s.count(); ++cell) {
    if (s.cells[static_cast<size_t>(cell)]) continue;
    std::set<uint8_t> seen;
    for (int other = 0; other < s.count(); ++other) {
      bool shares = other / s.size == cell / s.size || other % s.size == cell % s.size ||
                    s.box(other) == s.box(cell);
      if (shares) seen.insert(s.cells[static_cast<size_t>(other)]);
    }
    int possible = s.size + 1 - static_cast<int>(seen.size());  // 0, this cell's own, is in it
    if (possible >= fewest) continue;
    fewest = possible;
    best = cell;
    digits.clear();
    for (uint8_t d = 1; d <= s.size; ++d) {
      if (!seen.count(d)) digits.push_back(d);
    }
  }
  if (best < 0) return 1;
  int found = 0;
  for (uint8_t digit : digits) {
    if (found >= most) break;
    s.cells[static_cast<size_t>(best)] = digit;
    found += count_plainly(s, most - found);
  }
  return found;
}

TEST(Sudoku, TextAndBack) { EXPECT_EQ(to_text(parse_sudoku(kEasy)), kEasy); }

TEST(Sudoku, ParsingNamesWhatIsWrong) {
  EXPECT_THAT(error_of([] { parse_sudoku("123"); }), HasSubstr("this has 3"));
  EXPECT_THAT(error_of([] { parse_sudoku(std::string(15, '.') + "5"); }),
              HasSubstr("character 16 is '5': digits 1-4"));
  EXPECT_THAT(error_of([] { parse_sudoku("x" + std::string(80, '.')); }),
              HasSubstr("character 1 is 'x'"));
  EXPECT_THAT(error_of([] { parse_sudoku("\x1b" + std::string(80, '.')); }), HasSubstr("\\x1b"));
}

TEST(Sudoku, RulesAndBoxes) {
  EXPECT_TRUE(is_solved(parse_sudoku(kEasyAnswer)));
  EXPECT_FALSE(is_solved(parse_sudoku(kEasy)));
  Sudoku six = parse_sudoku(std::string(36, '.'));
  EXPECT_EQ(six.box(0), 0);
  EXPECT_EQ(six.box(3), 1);  // boxes are 2 rows by 3 columns
  EXPECT_EQ(six.box(12), 2);
  auto conflict = [](std::string text, size_t a, size_t b) {
    text[a] = text[b] = '3';
    return first_conflict(parse_sudoku(text));
  };
  EXPECT_EQ(conflict(std::string(81, '.'), 18, 26), "3 stands twice in row 3");
  EXPECT_EQ(conflict(std::string(81, '.'), 1, 73), "3 stands twice in column 2");
  EXPECT_EQ(conflict(std::string(36, '.'), 12, 20), "3 stands twice in box 3");
  EXPECT_EQ(conflict(std::string(16, '.'), 0, 6), "");
  EXPECT_TRUE(keeps_givens(parse_sudoku(kEasy), parse_sudoku(kEasyAnswer)));
  EXPECT_FALSE(keeps_givens(parse_sudoku("1" + std::string(15, '.')),
                            parse_sudoku("2" + std::string(15, '.'))));
}

TEST(SudokuSolver, CountsSolutions) {
  auto easy = solve_sudoku(parse_sudoku(kEasy));
  EXPECT_EQ(easy.found, 1);
  EXPECT_EQ(to_text(easy.first), kEasyAnswer);
  EXPECT_EQ(easy.guesses, 0);
  EXPECT_EQ(solve_sudoku(parse_sudoku(std::string(81, '.'))).found, 2);
  EXPECT_EQ(solve_sudoku(parse_sudoku(std::string(16, '.')), 1000).found, 288);  // known number
  std::string impossible(81, '.');
  impossible.replace(0, 9, ".12345678");
  impossible[9] = '9';  // the only digit left for the first cell stands below it
  EXPECT_EQ(solve_sudoku(parse_sudoku(impossible)).found, 0);
  impossible[9] = '.';
  EXPECT_EQ(solve_sudoku(parse_sudoku("55" + std::string(79, '.'))).found, 0);
}

TEST(SudokuSolver, AgreesWithPlainEnumeration) {
  NumpyPhilox rng(11);
  for (int trial = 0; trial < 300; ++trial) {
    // A generated puzzle with a given changed or removed: 0, 1 or more solutions.
    auto pair = generate_sudoku(trial % 2 ? 4 : 6, 0, 77, static_cast<uint64_t>(trial));
    for (auto change : {0, 1, 2}) {
      Sudoku s = pair.question;
      for (int n = 0; n < change; ++n) {
        auto at = static_cast<size_t>(rng.integers(0, s.count()));
        s.cells[at] = static_cast<uint8_t>(rng.integers(0, s.size + 1));
      }
      if (!first_conflict(s).empty()) continue;
      ASSERT_EQ(solve_sudoku(s).found, count_plainly(s)) << to_text(s);
    }
  }
}

TEST(SudokuGenerator, UniqueSolutionsOfEverySize) {
  for (int size : {4, 6, 9}) {
    int n = size == 9 ? 40 : 200;
    std::set<std::string> distinct;
    for (int i = 0; i < n; ++i) {
      auto pair = generate_sudoku(size, 0, 5, static_cast<uint64_t>(i));
      ASSERT_TRUE(is_solved(pair.answer));
      ASSERT_TRUE(keeps_givens(pair.question, pair.answer));
      ASSERT_EQ(count_plainly(pair.question), 1) << to_text(pair.question);
      distinct.insert(to_text(pair.question));
      // No given can be spared.
      for (int cell = 0; cell < pair.question.count(); ++cell) {
        Sudoku fewer = pair.question;
        auto digit = std::exchange(fewer.cells[static_cast<size_t>(cell)], 0);
        ASSERT_TRUE(!digit || has_other_solution(fewer, cell, digit));
      }
    }
    EXPECT_GT(distinct.size(), static_cast<size_t>(n) * 95 / 100);
  }
}

TEST(SudokuGenerator, SeedsGivensAndItemsAreIndependent) {
  auto text = [](int size, int givens, uint64_t seed, uint64_t i) {
    return to_text(generate_sudoku(size, givens, seed, i).question);
  };
  EXPECT_EQ(text(9, 0, 1, 2), text(9, 0, 1, 2));
  EXPECT_NE(text(9, 0, 1, 2), text(9, 0, 1, 3));
  EXPECT_NE(text(9, 0, 1, 2), text(9, 0, 2, 2));
  EXPECT_EQ(generate_sudoku(9, 40, 1, 2).question.givens(), 40);
  EXPECT_LT(generate_sudoku(9, 0, 1, 2).question.givens(), 30);
  EXPECT_THROW(generate_sudoku(5, 0, 1, 2), std::invalid_argument);
  EXPECT_THROW(generate_sudoku(4, 17, 1, 2), std::invalid_argument);
}

TEST(SudokuRating, PropagationIsZeroAndHardIsMore) {
  EXPECT_EQ(rate_sudoku(parse_sudoku(kEasy)), 0);
  // "AI Escargot" (Inkala 2006), known to need search.
  auto hard = parse_sudoku(
      "1....7.9..3..2...8..96..5....53..9...1..8...26....4...3......1..4......7..7...3..");
  EXPECT_GT(rate_sudoku(hard), 2);
  EXPECT_EQ(rate_sudoku(hard), rate_sudoku(hard));
}

TEST(SudokuShuffle, FirstDrawsAreTheReferences) {
  // Recorded for np.random.seed(0): digits, no transposition, rows and columns.
  NumpyMt19937 rng(0);
  auto s = SudokuShuffle::draw(9, rng);
  EXPECT_THAT(s.digit, testing::ElementsAre(0, 8, 3, 2, 5, 9, 7, 4, 1, 6));
  const int row[] = {7, 6, 8, 4, 5, 3, 0, 1, 2}, column[] = {1, 0, 2, 3, 5, 4, 6, 8, 7};
  for (int i = 0; i < 81; ++i) {
    EXPECT_EQ(s.from[static_cast<size_t>(i)], row[i / 9] * 9 + column[i % 9]);
  }
}

TEST(SudokuShuffle, KeepsTheRules) {
  NumpyMt19937 rng(3);
  for (int size : {4, 6, 9}) {
    auto pair = generate_sudoku(size, 0, 1, 0);
    std::set<std::string> seen;
    for (int i = 0; i < 50; ++i) {
      auto shuffle = SudokuShuffle::draw(size, rng);
      auto question = shuffle(pair.question), answer = shuffle(pair.answer);
      ASSERT_TRUE(is_solved(answer)) << first_conflict(answer);
      ASSERT_TRUE(keeps_givens(question, answer));
      ASSERT_EQ(question.givens(), pair.question.givens());
      seen.insert(to_text(question));
    }
    EXPECT_GT(seen.size(), 40u);
  }
}

}  // namespace
}  // namespace trm
