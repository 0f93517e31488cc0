// trm serve: a page and an API that let a model solve puzzles, and training runs watched live.
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <memory>
#include <thread>

#include <fmt/format.h>
#include <unistd.h>

#include "cli/commands.h"
#include "trm/checkpoint/checkpoint.h"
#include "trm/data/arc_dataset.h"
#include "trm/eval/load_model.h"
#include "trm/io/shipped_model.h"
#include "trm/io/text.h"
#include "trm/nn/tree.h"
#include "trm/ops/cpu/threads.h"
#include "trm/serve/server.h"

namespace trm::cli {

namespace {

struct Options {
  std::vector<std::string> checkpoints;
  std::string runs, names;
  std::vector<std::string> overrides;
  std::optional<std::string> dtype;
  std::optional<int> steps, cells;
  int threads = 0;
  double timeout = 60;
  serve::ServerOptions server;
};

// Attention models work on any number of cells: the vocabulary tells what their puzzles are.
std::optional<int> cells_of(const std::filesystem::path& checkpoint) {
  auto weights = load_checkpoint(checkpoint).tensors;
  const mx::array* tokens = nullptr;
  for (auto& [name, array] : weights) {
    if (name.find("mlp_t") != name.npos || name.find("embed_pos") != name.npos) return std::nullopt;
    if (name == "model.inner.embed_tokens.embedding_weight") tokens = &array;
  }
  return tokens && tokens->ndim() == 2 ? serve::usual_cells(tokens->shape(0)) : std::nullopt;
}

// Reads all weights now, on the thread that loaded them, and counts the parameters.
int64_t settle(const Model& model) {
  Arrays all;
  int64_t count = 0;
  for (auto& [name, array] : named_arrays(model)) {
    all.push_back(array);
    count += static_cast<int64_t>(array.size());
  }
  mx::eval(all);
  return count;
}

serve::ServedModel open_model(const Options& o, const std::filesystem::path& checkpoint) {
  auto loaded =
      load_model(checkpoint, {o.overrides, o.cells ? o.cells : cells_of(checkpoint), o.dtype});
  for (auto& note : loaded.notes) fmt::print(stderr, "note: {}\n", note);
  auto& m = loaded.model;
  DatasetMetadata shape;
  shape.seq_len = m.shape.seq_len;
  shape.vocab_size = m.shape.vocab_size;
  auto kind = kind_of(shape);
  if (kind == PuzzleKind::other) {
    throw std::invalid_argument(
        fmt::format("[serve] a model of {} cells and {} tokens solves none of the puzzles that can "
                    "be shown (Sudoku, mazes, ARC); attention models take --cells",
                    m.shape.seq_len, m.shape.vocab_size));
  }
  serve::ServedModel out;
  auto& f = out.facts;
  f.kind = kind;
  f.cells = m.shape.seq_len;
  f.vocab = m.shape.vocab_size;
  f.identifiers = m.io().puzzle_emb ? m.shape.num_puzzle_identifiers : 0;
  f.steps = o.steps.value_or(m.config.halt_max_steps);
  f.max_steps = std::max(f.max_steps, f.steps);
  if (!o.names.empty() && kind == PuzzleKind::arc) f.names = read_identifiers(o.names);
  out.description = {{"name", printable(checkpoint.filename().string())},
                     {"kind", serve::to_string(kind)},
                     {"cells", f.cells},
                     {"vocabulary", f.vocab},
                     {"identifiers", f.identifiers},
                     {"tasks", f.names.size()},
                     {"steps", f.steps},
                     {"max_steps", f.max_steps},
                     {"architecture", to_string(m.config.kind)},
                     {"mixing", m.config.mlp_t ? "mlp" : "attention"},
                     {"cycles", {m.config.H_cycles, m.config.L_cycles}},
                     {"hidden_size", m.config.hidden_size},
                     {"parameters", settle(m)},
                     {"dtype", m.config.forward_dtype},
                     {"device", mx::default_device() == mx::Device::cpu ? "cpu" : "gpu"},
                     {"trm", TRM_VERSION},
                     {"mlx", mx::version()}};
  out.engine = std::make_unique<serve::LiveBatch>(std::move(m));
  return out;
}

// At most one model a kind: a request need not say more than its puzzle.
std::vector<serve::ServedModel> open_models(const Options& o,
                                            const std::vector<std::string>& checkpoints) {
  if (checkpoints.size() > 1 && o.cells) {
    throw CLI::ValidationError("--cells goes with a single --checkpoint");
  }
  std::vector<serve::ServedModel> models;
  for (size_t i = 0; i < checkpoints.size(); ++i) {
    models.push_back(open_model(o, checkpoints[i]));
    for (size_t other = 0; other < i; ++other) {
      if (models[other].facts.kind != models[i].facts.kind) continue;
      throw std::invalid_argument(fmt::format(
          "[serve] {} and {} are both for {} puzzles: one checkpoint can be served for each kind",
          printable(checkpoints[other]), printable(checkpoints[i]), name_of(models[i].facts.kind)));
    }
  }
  bool arc = std::any_of(models.begin(), models.end(),
                         [](auto& m) { return m.facts.kind == PuzzleKind::arc; });
  if (!o.names.empty() && !arc) {
    throw std::invalid_argument("[serve] --names is for a model of ARC tasks, and none is served");
  }
  return models;
}

// Calls `stop` on a thread of its own at Ctrl-C or SIGTERM. A handler and a pipe: the libraries
// have started threads before main() that blocking the signals here would not reach.
class StopSignal {
 public:
  explicit StopSignal(std::function<void()> stop) {
    if (pipe(pipe_) != 0) throw std::runtime_error("[serve] no pipe: too many open files");
    thread_ = std::thread([stop = std::move(stop)] {
      char c;
      if (read(pipe_[0], &c, 1) == 1) stop();
    });
    struct sigaction action = {};
    action.sa_handler = [](int) { wake(); };
    for (int signal : {SIGINT, SIGTERM}) sigaction(signal, &action, nullptr);
  }
  ~StopSignal() {
    wake();
    thread_.join();
  }
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

 private:
  static void wake() { [[maybe_unused]] auto n = write(pipe_[1], "x", 1); }
  static inline int pipe_[2];
  std::thread thread_;
};

void run(Options& o) {
  auto checkpoints = o.checkpoints;
  if (checkpoints.empty()) {
    if (auto shipped = shipped_model()) checkpoints.push_back(shipped->string());
  }
  if (checkpoints.empty() && o.runs.empty()) {
    throw CLI::ValidationError(
        "trm serve needs a model (--checkpoint FILE: PyTorch, .npz or .safetensors), or a folder "
        "of training runs (--runs DIR); no weights are installed beside the program");
  }
  if (o.threads > 0) ops::set_threads(o.threads);
  o.server.timeout = std::chrono::milliseconds(static_cast<int64_t>(o.timeout * 1000));
  o.server.names.push_back(o.server.host);
  if (!o.runs.empty()) {
    if (!std::filesystem::is_directory(o.runs)) {
      throw std::invalid_argument(
          fmt::format("[serve] --runs {}: not a folder", printable(o.runs)));
    }
    o.server.runs = o.runs;
  }

  serve::Server server(open_models(o, checkpoints), o.server);
  int port = server.bind();
  StopSignal stop([&server] { server.stop(); });
  bool v6 = o.server.host.find(':') != std::string::npos;
  std::string what = "training runs";
  if (!checkpoints.empty()) what = printable(fmt::format("{}", fmt::join(checkpoints, ", ")));
  fmt::print("Serving {} at http://{}{}{}:{}/ (Ctrl-C ends it)\n", what, v6 ? "[" : "",
             o.server.host, v6 ? "]" : "", port);
  std::fflush(stdout);
  server.listen();
}

}  // namespace

void add_serve(CLI::App& app) {
  auto o = std::make_shared<Options>();
  auto* cmd =
      app.add_subcommand("serve", "Watch a model solve puzzles in a browser; a JSON API beside it");
  cmd->add_option("--checkpoint", o->checkpoints,
                  "PyTorch, .npz or .safetensors file (default: the weights that came with trm);\n"
                  "again for other kinds of puzzles: Sudoku, mazes, ARC")
      ->allow_extra_args(false);
  cmd->add_option("overrides", o->overrides,
                  "arch.KEY=VALUE, over all_config.yaml or what the weights show");
  cmd->add_option("--host", o->server.host,
                  "Address to listen on; anything but 127.0.0.1 lets "
                  "other machines in, and there is no password")
      ->capture_default_str();
  cmd->add_option("--port", o->server.port, "Port, 0 for a free one")
      ->check(CLI::Range(0, 65535))
      ->capture_default_str();
  cmd->add_option("--allow-host", o->server.names,
                  "Also answer requests that name this host (addresses and localhost always are)");
  cmd->add_option("--runs", o->runs, "Folder of training runs to show at /runs");
  cmd->add_option("--steps", o->steps,
                  "ACT steps where a request names none (default: the model's)")
      ->check(CLI::Range(1, 1024));
  cmd->add_option("--dtype", o->dtype, "float32, bfloat16 or float16 (default: the model's)")
      ->check(CLI::IsMember({"float32", "bfloat16", "float16"}));
  cmd->add_option("--threads", o->threads, "CPU threads (default: the machine's)")
      ->check(CLI::Range(1, 4096));
  cmd->add_option("--cells", o->cells, "Cells of a puzzle, where attention weights do not tell")
      ->check(CLI::Range(4, 1 << 16));
  cmd->add_option("--names", o->names, "identifiers.json of an ARC model's data set");
  auto bound = [&](const char* name, auto& value, const char* help, int most) {
    cmd->add_option(name, value, help)
        ->check(CLI::Range(1, most))
        ->capture_default_str()
        ->group("Bounds");
  };
  bound("--batch-size", o->server.max_rows, "Puzzles worked on together, by a model", 4096);
  bound("--max-queue", o->server.max_waiting, "Puzzles that wait; more are answered with 503",
        4096);
  bound("--max-streams", o->server.max_streams, "Open streams; more are answered with 429", 1024);
  bound("--max-body", o->server.max_body, "Bytes of a request; more are answered with 413",
        1 << 26);
  cmd->add_option("--timeout", o->timeout, "Seconds a request may take, then 503")
      ->check(CLI::Range(0.1, 86400.0))
      ->capture_default_str()
      ->group("Bounds");
  cmd->footer(
      "Examples:\n"
      "  trm serve --checkpoint step_6510                # then open http://127.0.0.1:8080/\n"
      "  trm serve --checkpoint model.npz --port 0       # takes a free port and prints it\n"
      "  trm serve --checkpoint sudoku.npz --checkpoint maze.npz   # the page switches\n"
      "  trm serve --runs checkpoints/my-project         # training runs, live, at /runs\n"
      "  curl -H 'Content-Type: application/json' http://127.0.0.1:8080/api/solve -d '{\"puzzle\": "
      "\"7.....8....2..5....3..6..9..7.6....1...1.3.7.....7.9.....4.2....9..3..1..2..1643.\"}'");
  cmd->callback([o] { run(*o); });
}

}  // namespace trm::cli
