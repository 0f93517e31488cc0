// The body of POST /api/solve, the Host header and the form of answers, without a socket.
#include "trm/serve/solve_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "trm/data/arc.h"
#include "trm/data/maze.h"
#include "trm/serve/puzzles.h"

namespace trm::serve {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

const std::string kPuzzle = "1.3..41..1.34..1";

PuzzleFacts small_sudoku() { return {PuzzleKind::sudoku, 16, 6, 1, 16, 64, {}}; }
PuzzleFacts small_maze() { return {PuzzleKind::maze, 9, 6, 1, 16, 64, {}}; }
PuzzleFacts arc() { return {PuzzleKind::arc, 900, 12, 3, 16, 64, {"<blank>", "ab", "cd"}}; }

void expect_refused(const std::string& body, const std::string& why,
                    const std::vector<PuzzleFacts>& models = {small_sudoku()}) {
  try {
    parse_solve_request(body, models);
    ADD_FAILURE() << "accepted: " << body;
  } catch (const std::exception& e) {
    EXPECT_THAT(e.what(), HasSubstr(why)) << body;
  }
}

TEST(SolveRequestTest, ReadsASudoku) {
  auto r = parse_solve_request(
      R"({"puzzle": "1.3. .410\n.1.34..1", "steps": 3, "stream": true, "early_stop": true})",
      {small_sudoku()});
  EXPECT_EQ(r.steps, 3);
  EXPECT_TRUE(r.stream && r.early_stop);
  EXPECT_EQ(r.tokens, (std::vector<int32_t>{2, 1, 4, 1, 1, 5, 2, 1, 1, 2, 1, 4, 5, 1, 1, 2}));
  EXPECT_EQ(r.puzzle, "1.3..41..1.34..1");
  auto plain = parse_solve_request(R"({"puzzle": ")" + kPuzzle + "\"}", {small_sudoku()});
  EXPECT_EQ(plain.steps, 16);
  EXPECT_FALSE(plain.stream || plain.early_stop);
}

TEST(SolveRequestTest, RefusesWhatItCannotUse) {
  expect_refused("", "not valid JSON");
  expect_refused("[]", "an object is expected");
  expect_refused("{}", "\"puzzle\" is missing");
  expect_refused(R"({"puzzle": 7})", "must be a string");
  expect_refused(R"({"puzzle": "12"})", "a puzzle of 2 characters, and this model takes 16");
  expect_refused(R"({"puzzle": "1.3..41..1.34..x"})", "'x'");
  expect_refused(R"({"puzzle": "11.............."})", "contradictory givens");
  auto with = [](const std::string& more) {
    return R"({"puzzle": ")" + kPuzzle + "\", " + more + "}";
  };
  expect_refused(with(R"("steps": 0)"), "\"steps\" must be a whole number from 1 to 64");
  expect_refused(with(R"("steps": 65)"), "from 1 to 64");
  expect_refused(with(R"("steps": 1.5)"), "from 1 to 64");
  expect_refused(with(R"("steps": 18446744073709551615)"), "from 1 to 64");
  expect_refused(with(R"("stream": 1)"), "\"stream\" must be true or false");
  expect_refused(with(R"("checkpoint": "/etc/passwd")"), "unknown key \"checkpoint\"");
  expect_refused(with(R"("task": "ab")"), "unknown key \"task\"");
  expect_refused(with("\"\\u001b[31m\": 1"), "\\x1b");
  expect_refused(std::string(100, '['), "nested deeper");
}

TEST(SolveRequestTest, ReadsAMaze) {
  auto r = parse_solve_request(R"({"puzzle": "S #\n  #\n# G\n"})", {small_maze()});
  EXPECT_EQ(r.tokens, (std::vector<int32_t>{3, 2, 1, 2, 2, 1, 1, 2, 4}));
  expect_refused(R"({"puzzle": "S #\n  #\n#  \n"})", "0 cells are G", {small_maze()});
  expect_refused(R"({"puzzle": "S G "})", "a maze of 2x2 cells, and this model takes 3x3",
                 {small_maze()});
  std::vector<int32_t> path{3, 2, 1, 5, 5, 1, 1, 5, 4};
  EXPECT_EQ(answer_json(r, path.data()), "S #\noo#\n#oG\n");
  EXPECT_TRUE(judge(r, path.data())->solved);
  EXPECT_THAT(judge(r, r.tokens.data())->text, HasSubstr("do not join"));
}

TEST(SolveRequestTest, ReadsAnArcGrid) {
  auto r = parse_solve_request(R"({"puzzle": [[0, 9], [3, 1]], "task": "cd"})", {arc()});
  EXPECT_EQ(r.identifier, 2);
  ASSERT_EQ(r.tokens.size(), 900u);
  EXPECT_EQ(r.tokens[0], 2);
  EXPECT_EQ(r.tokens[1], 11);
  EXPECT_EQ(r.tokens[kArcSide], 5);
  EXPECT_EQ(r.tokens[2], kArcEnd);
  EXPECT_EQ(answer_json(r, r.tokens.data()), nlohmann::json::parse("[[0,9],[3,1]]"));
  EXPECT_FALSE(judge(r, r.tokens.data()));
  expect_refused(R"({"puzzle": [[0]], "task": "zz"})", "task zz is none", {arc()});
  expect_refused(R"({"puzzle": [[0]], "identifier": 3})", "from 0 to 2", {arc()});
  expect_refused(R"({"puzzle": [[0, 10]]})", "[solve] \"puzzle\"", {arc()});
  expect_refused(R"({"puzzle": "x"})", "[solve] \"puzzle\"", {arc()});
}

TEST(SolveRequestTest, JudgesASudoku) {
  auto r = parse_solve_request(R"({"puzzle": ")" + kPuzzle + "\"}", {small_sudoku()});
  std::vector<int32_t> solved{2, 3, 4, 5, 4, 5, 2, 3, 3, 2, 5, 4, 5, 4, 3, 2};
  EXPECT_EQ(answer_json(r, solved.data()), "1234341221434321");
  EXPECT_TRUE(judge(r, solved.data())->solved);
  EXPECT_EQ(judge(r, r.tokens.data())->text, "wrong: cells are left blank");
}

TEST(SolveRequestTest, GoesToTheModelOfItsKind) {
  std::vector<PuzzleFacts> models{small_maze(), small_sudoku(), arc()};
  auto model = [&](const std::string& body) { return parse_solve_request(body, models).model; };
  EXPECT_EQ(model(R"({"puzzle": ")" + kPuzzle + "\"}"), 1u);
  EXPECT_EQ(model(R"({"puzzle": "S #\n  #\n# G\n"})"), 0u);
  EXPECT_EQ(model(R"({"puzzle": [[1, 2]], "task": "ab"})"), 2u);
  EXPECT_EQ(model(R"({"kind": "arc", "puzzle": [[1, 2]]})"), 2u);
  expect_refused(R"({"kind": "arc", "puzzle": ")" + kPuzzle + "\"}", "\"puzzle\"", models);
  expect_refused(R"({"kind": "chess", "puzzle": ""})",
                 "\"kind\" chess is not served here: maze, sudoku, arc", models);
  expect_refused(R"({"kind": 1, "puzzle": ""})", "\"kind\" must be a string", models);
  expect_refused(R"({"puzzle": "SG"})", "looks like maze, and the models here take sudoku, arc",
                 {small_sudoku(), arc()});
  // A single model is meant whatever the puzzle looks like: it says what it takes.
  expect_refused(R"({"puzzle": "SG"})", "a puzzle of 2 characters", {small_sudoku()});
  expect_refused(R"({"puzzle": "SG", "kind": "maze"})", "is not served here", {small_sudoku()});
}

TEST(PuzzlesTest, EveryOneOfTheListIsAQuestionItsModelTakes) {
  PuzzleFacts nine{PuzzleKind::sudoku, 81, 11, 1, 16, 64, {}};
  PuzzleFacts six{PuzzleKind::sudoku, 36, 8, 1, 16, 64, {}};
  PuzzleFacts large_maze{PuzzleKind::maze, 900, 6, 1, 16, 64, {}};
  PuzzleFacts two{PuzzleKind::maze, 4, 6, 1, 16, 64, {}};
  for (auto& facts : {nine, six, small_sudoku(), small_maze(), large_maze, two}) {
    auto list = puzzle_list(facts);
    EXPECT_GE(list.size(), 2u) << facts.cells;
    for (auto& p : list) {
      auto r = parse_solve_request(nlohmann::json{{"puzzle", p["puzzle"]}}.dump(), {facts});
      if (facts.kind == PuzzleKind::sudoku) {
        EXPECT_EQ(solve_sudoku(r.sudoku).found, 1) << p;
      } else {
        EXPECT_TRUE(maze_distance(r.grid)) << p;
      }
    }
    EXPECT_NE(example_puzzle(facts, 1), "");
  }
  auto list = puzzle_list(nine);
  EXPECT_EQ(list.front()["rating"], 0);
  EXPECT_EQ(list.back()["rating"], 50.1);  // the page says that it is the hardest found
  for (auto& task : puzzle_list(arc())) {
    auto input = task["puzzle"]["test"][0]["input"];
    EXPECT_EQ(question_json(parse_solve_request(nlohmann::json{{"puzzle", input}}.dump(), {arc()})),
              input);
  }
  EXPECT_FALSE(has_examples(arc()));
  EXPECT_TRUE(puzzle_list({PuzzleKind::maze, 33 * 33, 6, 1, 16, 64, {}}).empty());
}

TEST(HostTest, OnlyAddressesLocalhostAndTrustedNames) {
  for (auto host : {"localhost", "LOCALHOST:8080", "127.0.0.1", "127.0.0.1:1", "10.0.0.7:8080",
                    "[::1]", "[::1]:8080", "box.lan", "Box.lan:80"}) {
    EXPECT_TRUE(host_allowed(host, {"box.lan"})) << host;
  }
  for (auto host : {"", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "127.1",
                    "localhost:", "localhost:8080x", "localhost:80:80", "[::1", "[x]:1", "[::1]x",
                    "box.lan.evil", ":80", "localhost:999999"}) {
    EXPECT_FALSE(host_allowed(host, {"box.lan"})) << host;
  }
  using namespace std::string_view_literals;
  EXPECT_FALSE(host_allowed("17.0.20.7\0 evil@:8080"sv, {}));  // found by the fuzzer
}

TEST(HostTest, OtherOriginsAreRefused) {
  EXPECT_TRUE(origin_allowed("", "localhost:80"));
  EXPECT_TRUE(origin_allowed("http://localhost:80", "localhost:80"));
  EXPECT_FALSE(origin_allowed("http://localhost:81", "localhost:80"));
  EXPECT_FALSE(origin_allowed("null", "localhost:80"));
  EXPECT_FALSE(origin_allowed("http://evil.example", "localhost:80"));
}

TEST(EventTest, IsOneEventWhateverTheText) {
  EXPECT_EQ(sse_event("step", {{"a", "x\ny\n\nevent: z"}}),
            "event: step\ndata: {\"a\":\"x\\ny\\n\\nevent: z\"}\n\n");
  EXPECT_EQ(one_line({{"a", "\xff"}}), "{\"a\":\"\xef\xbf\xbd\"}");
}

}  // namespace
}  // namespace trm::serve
