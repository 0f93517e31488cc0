// trm eval: a checkpoint on a data set or a Sudoku CSV file.
#include <chrono>
#include <cstdio>
#include <memory>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/run_options.h"
#include "trm/checkpoint/checkpoint.h"
#include "trm/data/batches.h"
#include "trm/data/sudoku_dataset.h"
#include "trm/eval/evaluate.h"
#include "trm/eval/load_model.h"
#include "trm/eval/row_batches.h"
#include "trm/io/atomic_file.h"
#include "trm/ops/cpu/threads.h"

namespace trm::cli {

namespace {

struct Options : RunOptions {
  std::string checkpoint, data, csv, split = "test", json, save_preds;
  std::optional<int64_t> limit;
  std::vector<std::string> overrides;
};

// The rows to evaluate, whichever way they come.
struct Source {
  std::function<std::optional<Batch>()> next;
  int64_t rows;
  int cells;
};

Source open_source(const Options& o) {
  if (!o.csv.empty()) {
    std::vector<PuzzleRow> puzzles;
    for (auto& row : read_sudoku_csv(o.csv, std::nullopt, o.limit)) {
      puzzles.push_back(puzzle_row(row.pair));
    }
    auto batches = std::make_shared<RowBatches>(std::move(puzzles), o.batch_size);
    return {[batches] { return batches->next(); }, batches->rows(), batches->cells()};
  }
  auto data = std::make_shared<PuzzleDataset>(std::vector<std::filesystem::path>{o.data}, o.split);
  auto batches = std::make_shared<EvalIterator>(*data, o.batch_size, 0, 1, o.limit);
  auto rows = o.limit ? std::min(*o.limit, data->examples()) : data->examples();
  return {[data, batches] { return batches->next(); }, rows,
          static_cast<int>(data->metadata().seq_len)};
}

nlohmann::json report(const Options& o, const Evaluation& e, double seconds) {
  auto percent_of_rows = [&](double value) { return e.rows ? value / e.rows : 0.0; };
  nlohmann::json by_step = nlohmann::json::array();
  for (auto& s : e.steps) {
    by_step.push_back({{"exact_accuracy", percent_of_rows(static_cast<double>(s.exact))},
                       {"accuracy", percent_of_rows(s.cell_accuracy)},
                       {"q_halt_accuracy", percent_of_rows(static_cast<double>(s.q_halt_right))}});
  }
  return {{"checkpoint", o.checkpoint},
          {"data", o.csv.empty() ? o.data : o.csv},
          {"count", e.sums[kCount]},
          {"accuracy", e.metric(kAccuracy)},
          {"exact_accuracy", e.metric(kExactAccuracy)},
          {"q_halt_accuracy", e.metric(kQHaltAccuracy)},
          {"steps", e.metric(kSteps)},
          {"lm_loss", e.metric(kLmLoss)},
          {"by_step", by_step},
          {"rows", e.rows},
          {"steps_computed", static_cast<double>(e.row_steps) / std::max<double>(1, e.rows)},
          {"seconds", seconds}};
}

void save_preds(const std::string& path, const Evaluation& e) {
  int steps = static_cast<int>(e.preds.size()), rows = static_cast<int>(e.rows);
  std::vector<int32_t> preds;
  std::vector<float> q_halt;
  for (int s = 0; s < steps; ++s) {
    preds.insert(preds.end(), e.preds[s].begin(), e.preds[s].end());
    q_halt.insert(q_halt.end(), e.q_halt[s].begin(), e.q_halt[s].end());
  }
  save_npz(path, {{"preds", mx::array(preds.data(), {steps, rows, e.cells}, mx::int32)},
                  {"q_halt_logits", mx::array(q_halt.data(), {steps, rows}, mx::float32)}});
}

void run(const Options& o) {
  if (o.csv.empty() == o.data.empty()) {
    throw CLI::ValidationError("trm eval needs either --data DIR or --csv FILE");
  }
  if (o.threads > 0) ops::set_threads(o.threads);
  auto source = open_source(o);
  auto loaded = load_model(o.checkpoint, {o.overrides, source.cells, o.dtype});
  for (auto& note : loaded.notes) fmt::print(stderr, "note: {}\n", note);

  auto start = std::chrono::steady_clock::now();
  auto elapsed = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  bool terminal = isatty(STDERR_FILENO);
  EvaluateOptions options;
  options.steps = o.steps;
  options.halt = o.halt;
  options.keep_preds = !o.save_preds.empty();
  options.on_batch = [&](int64_t rows) {
    if (terminal) {
      double rate = static_cast<double>(rows) / elapsed();
      fmt::print(stderr, "\r{} of {} puzzles, {:.1f}/s, {:.0f} s left ", rows, source.rows, rate,
                 static_cast<double>(source.rows - rows) / rate);
    }
    return true;
  };
  auto e = evaluate(loaded.model, source.next, options);
  if (terminal) fmt::print(stderr, "\r\033[K");

  auto result = report(o, e, elapsed());
  fmt::print("{} puzzles, {} steps, {}, {:.1f} s ({:.1f} puzzles/s)\n", e.rows, e.steps.size(),
             loaded.model.config.forward_dtype, elapsed(), static_cast<double>(e.rows) / elapsed());
  for (auto key : {"exact_accuracy", "accuracy", "q_halt_accuracy", "steps", "lm_loss"}) {
    fmt::print("  {:<16}{:.4f}\n", key, result[key].get<double>());
  }
  fmt::print("  step        exact   cells\n");
  for (size_t s = 0; s < e.steps.size(); ++s) {
    const auto& row = result["by_step"][s];
    fmt::print("  {:>4}       {:.4f}  {:.4f}\n", s + 1, row["exact_accuracy"].get<double>(),
               row["accuracy"].get<double>());
  }
  if (!o.save_preds.empty()) save_preds(o.save_preds, e);
  if (!o.json.empty()) write_file_atomically(o.json, result.dump(2) + "\n");
}

}  // namespace

void add_eval(CLI::App& app) {
  auto o = std::make_shared<Options>();
  auto* cmd = app.add_subcommand("eval", "Measure a checkpoint's accuracy on a data set");
  cmd->add_option("checkpoint", o->checkpoint, "PyTorch, .npz or .safetensors file")->required();
  cmd->add_option("overrides", o->overrides,
                  "arch.KEY=VALUE, over all_config.yaml or what the weights show");
  cmd->add_option("--data", o->data, "Data set folder in the reference's layout");
  cmd->add_option("--csv", o->csv, "Sudoku CSV file (source,question,answer,rating)");
  cmd->add_option("--split", o->split, "Split of --data")->capture_default_str();
  cmd->add_option("--limit", o->limit, "Only the first N puzzles")->check(CLI::PositiveNumber);
  add_run_options(*cmd, *o);
  cmd->add_option("--json", o->json, "Write the result to this file");
  cmd->add_option("--save-preds", o->save_preds,
                  "Write preds (steps, puzzles, cells) and q_halt_logits to this .npz file");
  cmd->footer(
      "Examples:\n"
      "  trm eval runs/step_6510 --csv test_hard_10k.csv --limit 256\n"
      "  trm eval step_6510.npz --data data/sudoku-extreme-1k-aug-1000 --json result.json\n"
      "  trm eval weights.safetensors arch.num_heads=4 --data data/maze-30x30-hard-1k");
  cmd->callback([o] { run(*o); });
}

}  // namespace trm::cli
