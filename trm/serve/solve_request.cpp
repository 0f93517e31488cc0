#include "trm/serve/solve_request.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <stdexcept>

#include <arpa/inet.h>
#include <fmt/format.h>

#include "trm/data/arc.h"
#include "trm/data/json_file.h"
#include "trm/data/maze.h"
#include "trm/io/text.h"

namespace trm::serve {

namespace {

constexpr const char* kWhere = "[solve]";
using Json = nlohmann::ordered_json;

[[noreturn]] void refuse(const std::string& what) {
  throw std::invalid_argument(fmt::format("{} {}", kWhere, what));
}

int integer(const Json& json, const char* key, int least, int most) {
  if (json.is_number_integer()) {
    // Unsigned numbers above int64 would wrap, so both readings must fit.
    auto value = json.get<int64_t>();
    bool wraps = json.is_number_unsigned() && json.get<uint64_t>() > uint64_t{1} << 62;
    if (!wraps && value >= least && value <= most) return static_cast<int>(value);
  }
  refuse(fmt::format("\"{}\" must be a whole number from {} to {}", key, least, most));
}

bool boolean(const Json& json, const char* key) {
  if (!json.is_boolean()) refuse(fmt::format("\"{}\" must be true or false", key));
  return json.get<bool>();
}

const std::string& text(const Json& json, const char* key) {
  if (!json.is_string()) refuse(fmt::format("\"{}\" must be a string", key));
  return json.get_ref<const std::string&>();
}

void read_sudoku(SolveRequest& r, const Json& json, const PuzzleFacts& facts) {
  std::string cells;
  for (char c : text(json, "puzzle")) {
    if (c != '\n' && c != '\r' && c != ' ') cells += c;
  }
  if (static_cast<int>(cells.size()) != facts.cells) {
    refuse(
        fmt::format("a puzzle of {} characters, and this model takes {}: digits, and '.' or 0 "
                    "for a blank",
                    cells.size(), facts.cells));
  }
  r.sudoku = parse_sudoku(cells);
  auto conflict = first_conflict(r.sudoku);
  if (!conflict.empty()) refuse("contradictory givens: " + conflict);
  r.puzzle = to_text(r.sudoku);
  for (int i = 0; i < facts.cells; ++i) r.tokens.push_back(r.sudoku.cells[i] + 1);
}

void read_maze(SolveRequest& r, const Json& json, const PuzzleFacts& facts) {
  r.grid = parse_maze(text(json, "puzzle"));
  if (static_cast<int>(r.grid.cells.size()) != facts.cells) {
    int side = static_cast<int>(std::lround(std::sqrt(facts.cells)));
    refuse(fmt::format("a maze of {}x{} cells, and this model takes {}x{}", r.grid.rows,
                       r.grid.columns, side, side));
  }
  auto problem = maze_problem(r.grid);
  if (!problem.empty()) refuse(problem);
  r.puzzle = to_text(r.grid);
  r.tokens.assign(r.grid.cells.begin(), r.grid.cells.end());
}

void read_arc(SolveRequest& r, const Json& json, const PuzzleFacts& facts) {
  r.grid = parse_arc_grid(json, std::string(kWhere) + " \"puzzle\"");
  std::vector<uint8_t> tokens(kArcCells);
  write_arc_tokens(r.grid, dihedral_source(r.grid.rows, r.grid.columns, 0), r.grid.rows,
                   r.grid.columns, ArcAugmentation{}.colours, 0, 0, tokens.data());
  r.tokens.assign(tokens.begin(), tokens.end());
}

nlohmann::json colour_rows(const Grid& grid) {
  auto rows = nlohmann::json::array();
  for (int r = 0; r < grid.rows; ++r) {
    auto row = nlohmann::json::array();
    for (int c = 0; c < grid.columns; ++c) row.push_back(grid.at(r, c));
    rows.push_back(std::move(row));
  }
  return rows;
}

// The tokens as a grid of the question's shape: anything that is no colour becomes -1. Unlike
// crop_arc this keeps the cells still undecided visible in the middle of the recursion.
nlohmann::json arc_rows(const int32_t* tokens) {
  int rows = 0, columns = 0;
  for (int i = 0; i < kArcCells; ++i) {
    if (tokens[i] < kArcFirstColour) continue;
    rows = std::max(rows, i / kArcSide + 1);
    columns = std::max(columns, i % kArcSide + 1);
  }
  auto out = nlohmann::json::array();
  for (int r = 0; r < rows; ++r) {
    auto row = nlohmann::json::array();
    for (int c = 0; c < columns; ++c) {
      row.push_back(std::max(-1, tokens[r * kArcSide + c] - kArcFirstColour));
    }
    out.push_back(std::move(row));
  }
  return out;
}

// Told as `trm solve` tells them.
PuzzleKind looks_like(const Json& puzzle) {
  if (!puzzle.is_string()) return PuzzleKind::arc;
  bool maze = puzzle.get_ref<const std::string&>().find_first_of("SG#") != std::string::npos;
  return maze ? PuzzleKind::maze : PuzzleKind::sudoku;
}

size_t choose(const Json& json, const std::vector<PuzzleFacts>& models) {
  auto kind = json.find("kind");
  if (kind == json.end() && models.size() == 1) return 0;
  std::string wanted =
      kind != json.end() ? text(*kind, "kind") : to_string(looks_like(json.at("puzzle")));
  std::string served;
  for (size_t i = 0; i < models.size(); ++i) {
    if (to_string(models[i].kind) == wanted) return i;
    served += (i ? ", " : "") + std::string(to_string(models[i].kind));
  }
  refuse(kind != json.end()
             ? fmt::format("\"kind\" {} is not served here: {}", printable(wanted), served)
             : fmt::format("the puzzle looks like {}, and the models here take {}; \"kind\" says "
                           "which is meant",
                           wanted, served));
}

}  // namespace

const char* to_string(PuzzleKind kind) {
  const char* names[] = {"sudoku", "maze", "arc", "other"};
  return names[static_cast<int>(kind)];
}

std::optional<int> usual_cells(int vocab) {
  if (vocab == 11) return 81;
  if (vocab == 6 || vocab == 12) return 900;
  return std::nullopt;
}

SolveRequest parse_solve_request(const std::string& body, const std::vector<PuzzleFacts>& models) {
  auto json = parse_json(body, "request");
  if (!json.is_object()) refuse("an object is expected: {\"puzzle\": …}");
  if (!json.contains("puzzle")) refuse("\"puzzle\" is missing");
  SolveRequest r;
  r.model = choose(json, models);
  const auto& facts = models[r.model];
  r.kind = facts.kind;
  r.steps = facts.steps;
  for (auto& [key, value] : json.items()) {
    if (key == "puzzle" || key == "kind") continue;
    if (key == "steps") {
      r.steps = integer(value, "steps", 1, facts.max_steps);
    } else if (key == "stream") {
      r.stream = boolean(value, "stream");
    } else if (key == "early_stop") {
      r.early_stop = boolean(value, "early_stop");
    } else if (key == "identifier" && facts.kind == PuzzleKind::arc) {
      r.identifier = integer(value, "identifier", 0, std::max(0, facts.identifiers - 1));
    } else if (key == "task" && facts.kind == PuzzleKind::arc) {
      auto found = std::find(facts.names.begin(), facts.names.end(), text(value, "task"));
      if (found == facts.names.end()) {
        refuse(fmt::format(
            "task {} is none that this model was trained on; without \"task\" it guesses",
            printable(text(value, "task"))));
      }
      r.identifier = static_cast<int32_t>(found - facts.names.begin());
    } else {
      refuse(fmt::format("unknown key \"{}\"", printable(key)));
    }
  }
  if (facts.identifiers > 0 && r.identifier >= facts.identifiers) {
    refuse(fmt::format("task number {} is beyond the model's {}", r.identifier, facts.identifiers));
  }
  auto& puzzle = json["puzzle"];
  if (facts.kind == PuzzleKind::sudoku) read_sudoku(r, puzzle, facts);
  if (facts.kind == PuzzleKind::maze) read_maze(r, puzzle, facts);
  if (facts.kind == PuzzleKind::arc) read_arc(r, puzzle, facts);
  return r;
}

nlohmann::json answer_json(const SolveRequest& request, const int32_t* tokens) {
  if (request.kind == PuzzleKind::sudoku) return to_text(answer_to(request.sudoku, tokens));
  if (request.kind == PuzzleKind::maze) return to_text(answer_to(request.grid, tokens));
  return arc_rows(tokens);
}

nlohmann::json question_json(const SolveRequest& request) {
  return request.kind == PuzzleKind::arc ? colour_rows(request.grid)
                                         : nlohmann::json(request.puzzle);
}

std::optional<Verdict> judge(const SolveRequest& request, const int32_t* tokens) {
  if (request.kind == PuzzleKind::sudoku) {
    return trm::judge(request.sudoku, answer_to(request.sudoku, tokens));
  }
  if (request.kind == PuzzleKind::maze) {
    return trm::judge(request.grid, answer_to(request.grid, tokens));
  }
  return std::nullopt;
}

bool host_allowed(std::string_view host, const std::vector<std::string>& also) {
  std::string name(host);
  if (name.find('\0') != std::string::npos) return false;  // inet_pton would read up to it
  if (!name.empty() && name[0] == '[') {
    auto end = name.find(']');
    if (end == std::string::npos) return false;
    auto rest = name.substr(end + 1);
    if (!rest.empty() && rest[0] != ':') return false;
    name = name.substr(1, end - 1);
    in6_addr address;
    return inet_pton(AF_INET6, name.c_str(), &address) == 1;
  }
  auto colon = name.find(':');
  if (colon != std::string::npos) {
    auto port = name.substr(colon + 1);
    bool digits =
        std::all_of(port.begin(), port.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (port.empty() || port.size() > 5 || !digits) return false;
    name.resize(colon);
  }
  for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  in_addr address;
  if (name == "localhost" || inet_pton(AF_INET, name.c_str(), &address) == 1) return true;
  return !name.empty() && std::find(also.begin(), also.end(), name) != also.end();
}

bool origin_allowed(std::string_view origin, std::string_view host) {
  if (origin.empty()) return true;
  for (std::string_view scheme : {"http://", "https://"}) {
    if (origin.substr(0, scheme.size()) == scheme) return origin.substr(scheme.size()) == host;
  }
  return false;
}

std::string one_line(const nlohmann::json& json) {
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string sse_event(std::string_view name, const nlohmann::json& data) {
  return fmt::format("event: {}\ndata: {}\n\n", name, one_line(data));
}

}  // namespace trm::serve
