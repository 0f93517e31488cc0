// trm pretrain: training, with the reference's configuration and command lines.
#include <cstdio>
#include <memory>

#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/process_watch.h"
#include "cli/train_progress.h"
#include "trm/train/config_tree.h"

namespace trm::cli {

namespace {

struct PretrainCommand {
  std::optional<std::string> config_file;
  std::vector<std::string> words;  // key=value
  bool dry_run = false, quiet = false;

  RunRequest request() const {
    std::optional<std::string> resume;
    bool override = false;
    std::vector<std::string> overrides;
    for (auto& word : words) {
      auto o = parse_override(word);
      std::string key = o.path.size() == 1 ? o.path[0] : "";
      std::string value = word.substr(word.find('=') + 1);
      if (key == "resume") {
        resume = value;
      } else if (key == "resume_override") {
        if (!YAML::convert<bool>::decode(o.value, override)) {
          throw std::invalid_argument(fmt::format(
              "[config] resume_override must be True or False, not '{}'", printable(value)));
        }
      } else {
        overrides.push_back(word);
      }
    }
    if (!resume) return new_run(load_config(config_file, overrides));
    if (config_file) {
      throw std::invalid_argument(
          "[resume] a resumed run has its own configuration: leave --config out");
    }
    return resumed_run(*resume, overrides, override);
  }

  void run() const {
    auto todo = request();
    if (dry_run) {
      fmt::print("{}", to_yaml(todo.config));
      return;
    }
    auto ranks = Ranks::join();
    auto& stop_asked = stop_on_signal();
    ProcessWatch watch(ranks, ". Go on from the last checkpoint with resume=");
    TrainProgress progress(todo.config, quiet || !ranks.first());
    auto result = watch.during([&] { return pretrain(todo, ranks, progress, stop_asked); });
    watch.finish();
    if (quiet || !ranks.first()) return;
    std::string why = result.ended == Ended::asked         ? "Stopped by a signal"
                      : result.ended == Ended::max_steps   ? "Stopped at max_steps"
                      : result.ended == Ended::max_seconds ? "Stopped after max_seconds"
                                                           : "Finished";
    fmt::print("{} at step {} of {}: {}\n", why, result.step, result.total_steps,
               result.checkpoint.string());
    if (result.ended != Ended::finished) {
      fmt::print("Go on with: trm pretrain resume={}\n", todo.folder.string());
    }
  }
};

}  // namespace

void add_pretrain(CLI::App& app) {
  auto o = std::make_shared<PretrainCommand>();
  auto* c = app.add_subcommand("pretrain", "Train a model");
  c->add_option("--config", o->config_file,
                "YAML file, or the name of one that the program carries (default: cfg_pretrain)");
  c->add_flag("--dry-run", o->dry_run, "Print the resolved configuration and stop");
  c->add_flag("-q,--quiet", o->quiet, "Print errors and notes only");
  c->add_option("key=value", o->words,
                "Configuration: key=value, +key=value, arch=NAME, arch.key=value");
  c->footer(
      R"(resume=FOLDER goes on with a run, from its newest state or from FOLDER/state_N.npz, to the
weights it would have had without the interruption. SIGINT and SIGTERM finish the step, save and exit.

Examples:
  trm pretrain arch=trm data_paths="[data/sudoku-extreme-1k-aug-1000]" evaluators="[]" \
    epochs=50000 eval_interval=5000 lr=1e-4 puzzle_emb_lr=1e-4 weight_decay=1.0 \
    puzzle_emb_weight_decay=1.0 arch.mlp_t=True arch.pos_encodings=none arch.L_layers=2 \
    arch.H_cycles=3 arch.L_cycles=6 +run_name=pretrain_mlp_t_sudoku ema=True
  trm pretrain --config sudoku_4x4 data_paths="[data/sudoku-4x4]"
  trm pretrain resume=checkpoints/Sudoku-4x4-ACT-mlx/first
  trm pretrain --dry-run arch=hrm)");
  c->callback([o] { o->run(); });
}

}  // namespace trm::cli
