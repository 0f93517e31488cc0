// The HTTP side of `trm serve`: the page, the API and its bounds.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "trm/serve/batcher.h"
#include "trm/serve/solve_request.h"

namespace trm::serve {

struct ServerOptions {
  std::string host = "127.0.0.1";
  int port = 8080;                            // 0: any free one
  std::vector<std::string> names;             // host names that requests may name besides addresses
  size_t max_body = 256 << 10;                // bytes; more is answered with 413
  int max_rows = 64;                          // puzzles worked on together, by a model
  int max_waiting = 64;                       // puzzles that wait; more are answered with 503
  int max_streams = 32;                       // event streams at a time; more are answered with 429
  std::chrono::milliseconds timeout{60'000};  // of a request, waiting included; then 503
  std::optional<std::filesystem::path> runs;  // folder of training runs
};

struct ServedModel {
  PuzzleFacts facts;
  nlohmann::json description;  // GET /api/model
  std::unique_ptr<Engine> engine;
};

class Server {
 public:
  /// At most one model of each kind; without any only the runs are served.
  Server(std::vector<ServedModel> models, ServerOptions options);
  ~Server();
  /// Opens the port and returns it. Throws std::runtime_error.
  int bind();
  /// Serves until stop().
  void listen();
  /// May be called from any thread.
  void stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// The files of web/ as they were at build time: path ("/app.js") to content.
struct WebFile {
  const char* path;
  const char* type;
  std::string_view text;
};
const std::vector<WebFile>& web_files();

}  // namespace trm::serve
