// trm eval: checkpoints, or their saved answers, on a data set or a CSV file.
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>

#include <fmt/format.h>

#include "cli/checks.h"
#include "cli/commands.h"
#include "cli/eval_result.h"
#include "cli/process_watch.h"
#include "cli/progress.h"
#include "cli/run_options.h"
#include "trm/checkpoint/checkpoint.h"
#include "trm/eval/attempts.h"
#include "trm/eval/load_model.h"
#include "trm/eval/saved_answers.h"
#include "trm/io/atomic_file.h"
#include "trm/io/text.h"
#include "trm/ops/cpu/threads.h"
#include "trm/train/outcome.h"

namespace trm::cli {

namespace {

struct Options : RunOptions {
  std::vector<std::string> words;  // checkpoints, and overrides (with a '=')
  std::vector<std::string> preds;  // files of saved answers
  std::string data, csv, split = "test", json, save_preds, save_steps = "all", submission;
  std::optional<int64_t> limit;
  std::vector<int> pass_at = ArcVotingOptions{}.pass_at;
  bool compare = false;
  bool selects = false;  // --select was given
  AttemptOptions attempts;
};

/// `file` for one of several results: "out.json" becomes "out_step_100.json".
std::string tagged(const std::string& file, const std::string& tag) {
  if (tag.empty()) return file;
  std::filesystem::path path(file);
  auto name = fmt::format("{}_{}{}", path.stem().string(), tag, path.extension().string());
  return (path.parent_path() / name).string();
}

/// A short name for each file, none twice; empty for a single one.
std::vector<std::string> tags_of(const std::vector<std::string>& files) {
  std::vector<std::string> tags;
  if (files.size() == 1) return {""};
  for (auto& file : files) {
    auto stem = std::filesystem::path(file).stem().string(), tag = stem;
    for (int n = 2; std::find(tags.begin(), tags.end(), tag) != tags.end(); ++n) {
      tag = fmt::format("{}_{}", stem, n);
    }
    tags.push_back(tag);
  }
  return tags;
}

void save_preds(const std::string& path, const Evaluation& e, bool last_only) {
  int rows = static_cast<int>(e.rows), steps = last_only ? 1 : static_cast<int>(e.preds.size());
  std::vector<int32_t> preds;
  std::vector<float> q_halt;
  for (size_t s = e.preds.size() - static_cast<size_t>(steps); s < e.preds.size(); ++s) {
    preds.insert(preds.end(), e.preds[s].begin(), e.preds[s].end());
    q_halt.insert(q_halt.end(), e.q_halt[s].begin(), e.q_halt[s].end());
  }
  save_npz(path, {{"preds", mx::array(preds.data(), {steps, rows, e.cells}, mx::int32)},
                  {"q_halt_logits", mx::array(q_halt.data(), {steps, rows}, mx::float32)}});
}

const std::map<std::string, Select> kSelections = {{"q", Select::q},
                                                   {"residual", Select::residual},
                                                   {"vote", Select::vote},
                                                   {"first", Select::first},
                                                   {"rules", Select::rules}};

class EvalCommand {
 public:
  explicit EvalCommand(const Options& o) : o_(o), ranks_(Ranks::join()) {}

  void run() {
    std::vector<std::string> checkpoints;
    for (auto& word : o_.words) {
      bool is_override = word.starts_with("arch") && word.find('=') != std::string::npos;
      (is_override ? overrides_ : checkpoints).push_back(word);
    }
    check_usage(checkpoints);
    if (o_.threads > 0) ops::set_threads(o_.threads);
    ProcessWatch watch(ranks_, "");
    watch.during([&] { evaluate_all(checkpoints); });
    watch.finish();
    if (!ranks_.first()) return;
    if (stopped_) {
      fail("[eval] stopped by a signal: only what is shown was measured, no file is written");
    }
    if (!o_.json.empty()) {
      auto out = results_.size() == 1 ? results_[0] : nlohmann::json{{"results", results_}};
      if (!pooled_json_.is_null()) out["arc_pooled"] = pooled_json_;
      write_file_atomically(o_.json, out.dump(2) + "\n");
    }
  }

 private:
  void evaluate_all(const std::vector<std::string>& checkpoints) {
    if (!o_.data.empty()) data_ = open_dataset(o_.data, o_.split, o_.limit, ranks_);
    if (!o_.csv.empty()) data_ = open_csv(o_.csv, o_.limit, ranks_);
    const auto& files = o_.preds.empty() ? checkpoints : o_.preds;
    if (!data_.arc_folder.empty()) {
      ArcVotingOptions options;
      options.pass_at = o_.pass_at;
      options.pooled = false;
      alone_.emplace(data_.arc_folder, options);
      options.pooled = true;
      if (files.size() > 1) pooled_.emplace(data_.arc_folder, options);
    } else if (!o_.submission.empty()) {
      throw std::invalid_argument(
          "[eval] --submission needs an ARC data set's test split, with test_puzzles.json");
    }
    auto tags = tags_of(files);
    for (size_t i = 0; i < files.size() && !stopped_; ++i) {
      o_.preds.empty() ? evaluate_checkpoint(files[i], tags[i]) : evaluate_saved(files[i], tags[i]);
    }
    if (pooled_ && !stopped_) finish_pooled(files.size());
  }

  void check_usage(const std::vector<std::string>& checkpoints) const {
    auto refuse = [](bool wrong, const char* why) {
      if (wrong) throw CLI::ValidationError(why);
    };
    refuse(checkpoints.empty() == o_.preds.empty(),
           "trm eval needs either checkpoints or --preds FILE");
    refuse(!o_.csv.empty() && !o_.data.empty(), "--csv and --data exclude each other");
    refuse(o_.csv.empty() && o_.data.empty() && o_.preds.empty(),
           "trm eval needs either --data DIR or --csv FILE");
    refuse(o_.compare && (o_.halt == Halt::none || !o_.preds.empty()),
           "--compare needs checkpoints and --halt q or --halt settled");
    refuse(!o_.preds.empty() && !o_.save_preds.empty(),
           "--preds and --save-preds exclude each other");
    refuse(several_attempts() && (o_.halt != Halt::none || !o_.preds.empty()),
           "--select, --samples, --views and --noise exclude --halt and --preds");
    refuse(ranks_.size() > 1 && !(o_.save_preds.empty() && o_.preds.empty()),
           "--preds and --save-preds work in one process only");
  }

  static std::string describe(const AttemptOptions& a) {
    std::string rule;
    for (auto& [name, select] : kSelections) {
      if (select == a.select) rule = name;
    }
    return fmt::format("one of {} attempts by {}", a.views * a.samples, rule);
  }

  bool several_attempts() const {
    auto& a = o_.attempts;
    return o_.selects || a.samples > 1 || a.views > 1 || a.noise > 0;
  }

  EvaluateOptions options() const {
    EvaluateOptions options;
    options.steps = o_.steps;
    options.halt = o_.halt;
    options.keep_preds = !o_.save_preds.empty();
    return options;
  }

  std::vector<ArcVoting*> begin_votes() {
    std::vector<ArcVoting*> votes;
    for (auto* v : {&alone_, &pooled_}) {
      if (!*v) continue;
      (*v)->begin_round();
      votes.push_back(&**v);
    }
    return votes;
  }

  void evaluate_checkpoint(const std::string& file, const std::string& tag) {
    auto loaded = load_model(file, {overrides_, data_.cells, o_.dtype});
    if (ranks_.first()) {
      for (auto& note : loaded.notes) fmt::print(stderr, "note: {}\n", note);
    }
    auto measure_with = [&](Halt halt, const std::vector<ArcVoting*>& votes) {
      auto chosen = options();
      chosen.halt = halt;
      ProgressLine line(stderr);
      auto counted = [&](int64_t rows) {  // the other processes are about as far
        rows = std::min(rows * ranks_.size(), data_.rows);
        if (ranks_.first()) line.count(printable(file), rows, data_.rows);
      };
      counted(0);
      chosen.on_batch = [&](int64_t rows) {
        counted(rows);
        return !stop_asked_;
      };
      auto result = measure(data_, chosen, votes, [&](const EvaluateOptions& all) {
        auto next = data_.open(o_.batch_size);
        return several_attempts() ? evaluate(loaded.model, next, o_.attempts, all)
                                  : evaluate(loaded.model, next, all);
      });
      result.has_losses = !several_attempts();
      if (several_attempts()) result.attempts = describe(o_.attempts);
      result.checkpoint = file;
      result.dtype = loaded.model.config.forward_dtype;
      result = summed(ranks_, std::move(result));
      stopped_ = result.evaluation.rows < data_.rows;
      return result;
    };
    auto result = measure_with(o_.halt, begin_votes());
    if (!o_.save_preds.empty() && !stopped_) {
      save_preds(tagged(o_.save_preds, tag), result.evaluation, o_.save_steps == "last");
    }
    finish(std::move(result), tag);
    if (o_.compare && !stopped_) compare(measure_with(Halt::none, {}));
  }

  /// The same without halting, beside the result before.
  void compare(const EvalResult& all) {
    if (!ranks_.first()) return;
    auto& halted = results_.back();
    auto whole = to_json(data_, all);
    auto row = [](const char* name, const nlohmann::json& r) {
      fmt::print("  {:<14}exact {:.4f}  cells {:.4f}  {:5.2f} steps a puzzle  {:.1f} s\n", name,
                 r["exact_accuracy"].get<double>(), r["accuracy"].get<double>(),
                 r["steps_computed"].get<double>(), r["seconds"].get<double>());
    };
    row("with --halt", halted);
    row("all steps", whole);
    halted["all_steps"] = whole;
  }

  void evaluate_saved(const std::string& file, const std::string& tag) {
    auto saved = read_saved_answers(file);
    EvalData data = data_;
    if (saved.rows) {
      data.open = [&saved](int batch_size) { return batches_of(saved, batch_size); };
      data.rows = saved.answers.rows;
      data.ratings.clear();
      if (data.name.empty()) data.name = file;
    } else if (data.name.empty()) {
      throw std::invalid_argument(
          fmt::format("[eval] {} holds answers only: --data or --csv has to name the puzzles that "
                      "they belong to",
                      printable(file)));
    } else if (saved.answers.rows < data.rows) {
      throw std::invalid_argument(fmt::format(
          "[eval] {} holds the answers of {} puzzles, the data has {}: use the --limit with which "
          "they were made",
          printable(file), saved.answers.rows, data.rows));
    }
    auto result = measure(data, options(), begin_votes(), [&](const EvaluateOptions& all) {
      return evaluate(saved.answers, data.open(o_.batch_size), all);
    });
    result.checkpoint = file;
    result.has_losses = false;
    finish(std::move(result), tag, &data);
  }

  void finish(EvalResult result, const std::string& tag, const EvalData* data = nullptr) {
    if (alone_) result.arc = gathered(ranks_, *alone_).scores();
    if (!ranks_.first()) return;
    print(data ? *data : data_, result);
    results_.push_back(to_json(data ? *data : data_, result));
    if (!o_.submission.empty() && !stopped_) {
      write_file_atomically(tagged(o_.submission, tag), result.arc->submission);
    }
  }

  void finish_pooled(size_t checkpoints) {
    auto scores = gathered(ranks_, *pooled_).scores();
    if (!ranks_.first()) return;
    auto label = fmt::format("all {} together", checkpoints);
    print(scores, label);
    pooled_json_ = to_json(scores, label);
    if (!o_.submission.empty()) write_file_atomically(o_.submission, scores.submission);
  }

  const Options& o_;
  Ranks ranks_;
  const std::atomic<bool>& stop_asked_ = stop_on_signal();
  bool stopped_ = false;  // not all puzzles were measured
  EvalData data_;
  std::vector<std::string> overrides_;
  std::optional<ArcVoting> alone_, pooled_;
  std::vector<nlohmann::json> results_;
  nlohmann::json pooled_json_;
};

}  // namespace

void add_eval(CLI::App& app) {
  auto o = std::make_shared<Options>();
  auto* cmd = app.add_subcommand("eval", "Measure checkpoints' accuracy on a data set");
  cmd->add_option("checkpoint", o->words,
                  "PyTorch, .npz or .safetensors files; arch.KEY=VALUE goes over all_config.yaml\n"
                  "or what the weights show");
  cmd->add_option("--data", o->data, "Data set folder in the reference's layout");
  cmd->add_option("--csv", o->csv, "CSV file of Sudoku or mazes (source,question,answer,rating)");
  cmd->add_option("--split", o->split, "Split of --data")->capture_default_str();
  cmd->add_option("--limit", o->limit, "Only the first N puzzles")->check(kPositive);
  add_run_options(*cmd, *o);
  cmd->add_flag("--compare", o->compare, "With --halt: also run all steps and show both");
  cmd->add_option_function<std::string>(
         "--select",
         [o](const std::string& name) {
           o->selects = true;
           o->attempts.select = kSelections.at(name);
         },
         "How one of several attempts is chosen: q: the model believes in it most; residual: its\n"
         "latent moved least; vote: most attempts agree; first: the first to halt, one attempt\n"
         "after the other; rules: the first answer that obeys Sudoku's rules (default: q)")
      ->check(CLI::IsMember({"q", "residual", "vote", "first", "rules"}));
  cmd->add_option("--samples", o->attempts.samples, "Attempts at each view, with other noise")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  cmd->add_option("--views", o->attempts.views,
                  "Symmetric forms of each Sudoku, the puzzle itself the first")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  cmd->add_option("--noise", o->attempts.noise,
                  "Deviation of the noise on the latents before each ACT step")
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str();
  cmd->add_option("--seed", o->attempts.seed, "Seed of views and noise")->capture_default_str();
  cmd->add_option("--json", o->json, "Write the result to this file");
  cmd->add_option("--save-preds", o->save_preds,
                  "Write preds (steps, puzzles, cells) and q_halt_logits to this .npz file");
  cmd->add_option("--save-steps", o->save_steps, "Steps that --save-preds keeps")
      ->check(CLI::IsMember({"all", "last"}))
      ->capture_default_str();
  cmd->add_option("--preds", o->preds,
                  "Judge these saved answers instead of checkpoints; files of eval_save_outputs\n"
                  "or of the reference that hold their inputs need no --data to be scored");
  cmd->add_option(
      "--submission", o->submission,
      "ARC: write submission.json here; of several checkpoints all votes together, and\n"
      "each one's own in FILE_<checkpoint>");
  cmd->add_option("--pass-at", o->pass_at, "ARC: solved if among so many best answers")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  cmd->footer(
      "ARC votes are counted where the data set has test_puzzles.json: each checkpoint alone, and\n"
      "several together. Started by mlx.launch or mpirun, the processes share the puzzles.\n\n"
      "Examples:\n"
      "  trm eval runs/step_6510 --csv test_hard_10k.csv --limit 256\n"
      "  trm eval step_6510.npz --data data/sudoku-extreme-1k-aug-1000 --json result.json\n"
      "  trm eval sudoku.safetensors --csv test_hard_10k.csv --steps 64 --views 8 --select first\n"
      "  trm eval run/step_*.npz --data data/maze-30x30-hard-1k --halt q --compare\n"
      "  trm eval step_100.npz step_200.npz --data data/arc1concept-aug-1000 \\\n"
      "    --submission submission.json\n"
      "  trm eval --preds preds.npz --data data/arc1concept-aug-1000");
  cmd->callback([o] { EvalCommand(*o).run(); });
}

}  // namespace trm::cli
