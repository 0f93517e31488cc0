// The body of POST /api/solve, and the Host header, as any client may send them.
#include <algorithm>

#include "fuzz/common.h"
#include "trm/serve/solve_request.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trm;
  using namespace trm::serve;
  std::string text(reinterpret_cast<const char*>(data), size);
  static const std::vector<PuzzleFacts> models{
      {PuzzleKind::sudoku, 16, 6, 1, 16, 64, {}},
      {PuzzleKind::sudoku, 81, 11, 1, 16, 64, {}},
      {PuzzleKind::maze, 9, 6, 1, 16, 64, {}},
      {PuzzleKind::arc, 900, 12, 3, 16, 64, {"", "a", "b"}}};
  static const std::vector<std::vector<PuzzleFacts>> servers{
      {models[0]}, {models[1]}, {models[2]}, {models[3]}, {models[1], models[2], models[3]}};
  for (auto& served : servers) {
    try {
      auto r = parse_solve_request(text, served);
      const auto& facts = served.at(r.model);
      if (r.kind != facts.kind) abort();
      if (static_cast<int>(r.tokens.size()) != facts.cells) abort();
      for (int t : r.tokens) {
        if (t < 0 || t >= facts.vocab) abort();
      }
      if (r.steps < 1 || r.steps > facts.max_steps) abort();
      if (r.identifier < 0 || r.identifier >= facts.identifiers) abort();
      auto question = question_json(r), answer = answer_json(r, r.tokens.data());
      if (question != answer) abort();
      judge(r, r.tokens.data());
      auto event = sse_event("step", answer);
      if (std::count(event.begin(), event.end(), '\n') != 3) abort();
      // What was read is read the same again.
      nlohmann::json same{{"puzzle", question}, {"kind", to_string(r.kind)}};
      auto again = parse_solve_request(same.dump(), served);
      if (again.tokens != r.tokens) abort();
    } catch (const std::runtime_error&) {
    } catch (const std::invalid_argument&) {
    }
  }
  if (host_allowed(text, {}) && text.find_first_of("/\\@ \r\n") != text.npos) abort();
  return 0;
}
