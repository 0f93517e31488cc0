// What a client may ask of `trm serve`: the JSON body of POST /api/solve, checked in full before
// anything is computed. Knows nothing of sockets or of MLX.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "trm/data/grid.h"
#include "trm/data/sudoku.h"
#include "trm/data/symmetry.h"
#include "trm/data/verdict.h"

namespace trm::serve {

/// As the API names it.
const char* to_string(PuzzleKind kind);

/// What a model takes, in plain numbers.
struct PuzzleFacts {
  PuzzleKind kind = PuzzleKind::sudoku;
  int cells = 81, vocab = 11;
  int identifiers = 0;             // puzzle embeddings the model has; 0: none
  int steps = 16, max_steps = 64;  // ACT steps of a request that names none, and the most
  std::vector<std::string> names;  // identifiers.json of an ARC model's data set, or empty
};

/// Cells of a puzzle where the weights do not tell (attention), from the vocabulary.
std::optional<int> usual_cells(int vocab);

struct SolveRequest {
  size_t model = 0;  // of those served
  PuzzleKind kind = PuzzleKind::sudoku;
  std::vector<int32_t> tokens;  // (cells)
  int32_t identifier = 0;       // row of the puzzle embedding
  int steps = 0;
  bool early_stop = false, stream = false;
  std::string puzzle;  // the question as to_json() gives answers: text, or rows of colours
  Sudoku sudoku;       // the question itself, whichever `kind` names
  Grid grid;
};

/// Reads {"puzzle": …, "kind": name, "steps": N, "stream": bool, "early_stop": bool, "task": name,
/// "identifier": N} for one of `models`, at most one of a kind: the one of that kind, else the only
/// one, else the one whose puzzles look like this. Throws std::runtime_error or
/// std::invalid_argument that says what is wrong with which key.
SolveRequest parse_solve_request(const std::string& body, const std::vector<PuzzleFacts>& models);

/// The model's answer of `tokens` in the form of the request: 81 characters, lines of a maze, or
/// rows of colours.
nlohmann::json answer_json(const SolveRequest& request, const int32_t* tokens);
/// The question in the same form.
nlohmann::json question_json(const SolveRequest& request);
/// By the puzzle's rules; nullopt for ARC, whose answers cannot be judged.
std::optional<Verdict> judge(const SolveRequest& request, const int32_t* tokens);

/// Whether a request with this Host header may be answered: names that resolve anywhere can be
/// pointed at us by a web page (DNS rebinding), addresses and localhost cannot. `also` lists names
/// that the operator trusts.
bool host_allowed(std::string_view host, const std::vector<std::string>& also);
/// Whether the Origin header, if any, names the same host as the Host header.
bool origin_allowed(std::string_view origin, std::string_view host);

/// One server-sent event.
std::string sse_event(std::string_view name, const nlohmann::json& data);
/// JSON on one line; invalid UTF-8 is replaced.
std::string one_line(const nlohmann::json& json);

}  // namespace trm::serve
