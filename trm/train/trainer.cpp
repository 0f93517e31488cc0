#include "trm/train/trainer.h"

#include <chrono>
#include <cmath>
#include <memory>
#include <stdexcept>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "trm/checkpoint/checkpoint.h"
#include "trm/eval/arc_voting.h"
#include "trm/eval/evaluate.h"
#include "trm/io/atomic_file.h"
#include "trm/train/event_file.h"
#include "trm/train/outcome.h"
#include "trm/train/prefetch.h"
#include "trm/train/run_folder.h"
#include "trm/train/start.h"
#include "trm/train/state_file.h"

namespace trm {

namespace {

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// A step whose results the device may still be working on.
struct Pending {
  int64_t step;
  mx::array report;  // (10): the sums of Metric, the loss, how many processes were asked to stop
  double lr;
  double seconds;  // from the step before to this one; 0: something came between
};

class Run {
 public:
  Run(const RunRequest& request, const Ranks& ranks, Observer& observer,
      const std::atomic<bool>& stop);
  RunResult train();

 private:
  void resume();
  void open_folder();
  std::optional<Ended> ended() const;
  void step(const Batch& batch);
  void finish_pending();
  void save();
  void end_iteration(int64_t iteration);
  void evaluate_and_log();
  void log(const MetricsLine& line) const;
  bool out_of_time() const {
    return config_.max_seconds && seconds_since(started_) >= *config_.max_seconds;
  }
  double elapsed() const { return position_.elapsed + seconds_since(started_); }

  const RunRequest& request_;
  const PretrainConfig& config_;
  const Ranks& ranks_;
  Observer silent_;
  Observer& observer_;  // hears nothing on other processes than the first
  const std::atomic<bool>& stop_;

  std::unique_ptr<RunFolder> folder_;  // on the first process, as the log
  std::unique_ptr<MetricsLog> log_;
  std::unique_ptr<EventFile> events_;  // with config_.tensorboard
  RunData data_;
  Hyperparameters hyper_;
  int64_t total_steps_ = 0, iterations_ = 0, saved_step_ = -1;
  std::optional<TrainState> state_;
  std::vector<ArcVoting> voting_;  // one for each of config_.evaluators
  RunPosition position_;           // elapsed: before this process started
  std::optional<Pending> pending_;
  bool asked_to_stop_ = false;
  Clock::time_point started_ = Clock::now();
  std::optional<Clock::time_point> begun_;  // the last step, unless something came after it
};

Run::Run(const RunRequest& request, const Ranks& ranks, Observer& observer,
         const std::atomic<bool>& stop)
    : request_(request),
      config_(request.config),
      ranks_(ranks),
      observer_(ranks.first() ? observer : silent_),
      stop_(stop) {
  validate(config_);
  check_outputs(config_.eval_save_outputs);
  if (config_.global_batch_size % ranks.size() != 0) {
    throw std::invalid_argument(
        fmt::format("[pretrain] global_batch_size {} is no multiple of the {} processes",
                    config_.global_batch_size, ranks.size()));
  }
  data_ = load_run_data(config_);
  if (!data_.no_test.empty()) observer_.notice(data_.no_test);
  total_steps_ =
      total_steps(config_.epochs, data_.train->groups(),
                  data_.train->metadata().mean_puzzle_examples, config_.global_batch_size);
  iterations_ = config_.epochs / config_.eval_interval.value_or(config_.epochs);
  if (total_steps_ < 1) {
    throw std::invalid_argument(
        fmt::format("[pretrain] {} epochs of {} groups give no whole batch of {}: raise epochs or "
                    "lower global_batch_size",
                    config_.epochs, data_.train->groups(), config_.global_batch_size));
  }
  voting_ = make_evaluators(config_, [&](const std::string& text) { observer_.notice(text); });
  hyper_ = hyperparameters(config_, total_steps_, ranks_);
  open_folder();

  auto [model_key, run_key] =
      mx::random::split(mx::random::key(static_cast<uint64_t>(config_.seed)));
  int rows = static_cast<int>(config_.global_batch_size);
  state_ =
      make_train_state(starting_model(config_, data_.shape, model_key, !request.resume,
                                      [&](const std::string& text) { observer_.notice(text); }),
                       to_examples(data_.train->empty_batch(rows)), run_key, config_.ema);
  auto facts = run_facts(config_, *state_, data_, ranks_);
  require_memory(facts, config_);
  if (request.resume) resume();
  state_->carry = rows_of(state_->carry, hyper_.first_row, hyper_.first_row + rows / ranks_.size());
  mx::eval(state_arrays(*state_));
  facts.folder = request_.folder;
  facts.first_step = state_->step;
  facts.total_steps = total_steps_;
  observer_.starting(facts);
}

void Run::open_folder() {
  if (!ranks_.first()) return;
  folder_ = std::make_unique<RunFolder>(request_.folder);
  if (!request_.resume && !(folder_->states().empty() && folder_->checkpoints().empty())) {
    throw std::runtime_error(
        fmt::format("[pretrain] {} holds a run already: go on with resume={}, choose another "
                    "run_name, or remove it",
                    folder_->path().string(), folder_->path().string()));
  }
  folder_->remove_leftovers();
}

void Run::resume() {
  auto steps = request_.step ? std::vector{*request_.step} : run_states(request_.folder);
  std::string damage;
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    try {
      TrainState loaded = *state_;
      position_ = load_state(state_file(request_.folder, *step), loaded);
      if (!damage.empty()) {
        observer_.notice(fmt::format("{}; going on from the older step {}", damage, *step));
      }
      state_ = std::move(loaded);
      if (folder_ && request_.step) folder_->set_aside_after(*step);
      saved_step_ = *step;
      // All processes have to stand at the same step, whatever files they found.
      auto sum = ranks_.sum(mx::array(static_cast<int>(*step))).item<int>();
      if (sum != *step * ranks_.size()) {
        throw std::invalid_argument(
            "[resume] the processes found different states: give all the same run folder");
      }
      return;
    } catch (const std::runtime_error& e) {
      if (damage.empty()) damage = e.what();
    }
  }
  throw std::runtime_error(
      damage + (request_.step ? "; resume=<run folder> goes on from the newest good state" : ""));
}

std::optional<Ended> Run::ended() const {
  if (state_->step >= total_steps_) return Ended::finished;
  if (ranks_.size() > 1 && asked_to_stop_) return out_of_time() ? Ended::max_seconds : Ended::asked;
  if (ranks_.size() == 1 && stop_.load()) return Ended::asked;
  if (config_.max_steps && state_->step >= *config_.max_steps) return Ended::max_steps;
  if (ranks_.size() == 1 && out_of_time()) return Ended::max_seconds;
  return std::nullopt;
}

RunResult Run::train() {
  RunResult result{Ended::finished, state_->step, total_steps_, {}};
  if (folder_) {
    if (!request_.resume || request_.rewrite_config) {
      write_file_atomically(folder_->config(), to_yaml(config_));
    }
    std::optional<int64_t> keep;
    if (request_.resume) keep = state_->step;
    log_ = std::make_unique<MetricsLog>(folder_->metrics(), keep);
    if (config_.tensorboard) events_ = std::make_unique<EventFile>(folder_->path());
  }
  if (saved_step_ != state_->step || !folder_ || !exists(folder_->weights(state_->step))) {
    saved_step_ = -1;
  }
  TrainOptions options{config_.global_batch_size, static_cast<uint64_t>(config_.seed),
                       config_.eval_interval.value_or(config_.epochs), ranks_.rank(),
                       ranks_.size()};
  Prefetcher batches(*data_.train, options, position_.cursor);
  started_ = Clock::now();
  while (true) {
    auto reason = ended();
    if (reason && *reason != Ended::finished) {
      result.ended = *reason;
      break;
    }
    auto item = batches.next();
    if (!item.batch) {
      end_iteration(item.iteration);
      if (item.iteration >= iterations_) break;
    } else if (!reason) {
      step(*item.batch);
      position_.cursor = item.cursor;
      bool due =
          config_.checkpoint_every_steps && state_->step % *config_.checkpoint_every_steps == 0;
      if (due) save();
    }
  }
  save();
  mx::eval(ranks_.sum(mx::array(1)));  // nobody leaves while another still needs its messages
  result.step = state_->step;
  if (folder_) result.checkpoint = folder_->weights(state_->step);
  return result;
}

void Run::step(const Batch& batch) {
  auto gradients = begin_train_step(*state_, to_examples(batch), hyper_);
  auto& rows = gradients.puzzle_rows;
  auto identifiers = state_->carry.current.puzzle_identifiers;
  mx::array stop(stop_.load() || out_of_time() ? 1.0f : 0.0f);
  auto report = mx::concatenate(
      {gradients.step.metrics, mx::reshape(gradients.step.loss, {1}), mx::reshape(stop, {1})});
  if (ranks_.size() > 1) {
    gradients.weights.push_back(report);
    gradients.weights = ranks_.sum(gradients.weights);
    report = mx::contiguous(gradients.weights.back());  // a copy, the host reads it alone
    gradients.weights.pop_back();
    if (rows) {
      rows = ranks_.gather(*rows);
      // Where another process is lost, MLX goes on with whatever memory held, until the error comes
      // to this thread: no identifier may lie outside of the table.
      int last = state_->model.io().puzzle_emb->weights.value.shape(0) - 1;
      identifiers = mx::clip(ranks_.gather(identifiers), mx::array(0), mx::array(last));
    }
  }
  finish_train_step(*state_, gradients.weights, rows, identifiers, hyper_);
  Arrays all = state_arrays(*state_);
  all.push_back(report);
  mx::async_eval(all);
  // The device works on this step while the one before it is reported.
  finish_pending();
  double lr = learning_rate(hyper_.lr, state_->step, hyper_.lr_warmup_steps, total_steps_,
                            hyper_.lr_min_ratio);
  double seconds = begun_ ? seconds_since(*begun_) : 0;
  begun_ = Clock::now();
  pending_ = Pending{state_->step, report, lr, seconds};
}

void Run::finish_pending() {
  if (!pending_) return;
  auto pending = *std::exchange(pending_, std::nullopt);
  mx::eval(pending.report);
  const float* sums = pending.report.data<float>();
  double loss = sums[kMetricNames.size()] / static_cast<double>(config_.global_batch_size);
  if (!std::isfinite(loss))
    throw std::runtime_error(not_finite_message(*state_, pending.step, loss, saved_step_));
  if (sums[kMetricNames.size() + 1] > 0) asked_to_stop_ = true;

  MetricsLine line{pending.step, elapsed(), {{"train/loss", loss}}};
  for (size_t i = 0; i < kMetricNames.size(); ++i) {
    bool of_batch = std::string_view(kMetricNames[i]).ends_with("loss");
    double divisor = i == kCount ? 1.0
                     : of_batch  ? static_cast<double>(config_.global_batch_size)
                                 : std::max(1.0, static_cast<double>(sums[kCount]));
    line.values.emplace_back(fmt::format("train/{}", kMetricNames[i]), sums[i] / divisor);
  }
  line.values.emplace_back("train/lr", pending.lr);
  if (pending.seconds > 0) {
    line.values.emplace_back("train/examples_per_second",
                             static_cast<double>(config_.global_batch_size) / pending.seconds);
  }
  log(line);
  observer_.stepped(line);
}

void Run::log(const MetricsLine& line) const {
  if (log_) log_->append(line);
  if (events_) events_->append(line);
}

void Run::save() {
  finish_pending();
  if (saved_step_ == state_->step) return;
  TrainState whole = *state_;
  if (ranks_.size() > 1) {
    whole.carry = gathered(ranks_, state_->carry);
    mx::eval(state_arrays(whole));  // on every process: all take part in gathering
  }
  if (folder_) {
    RunPosition position{position_.cursor, elapsed()};
    save_state(folder_->state(state_->step), whole, position);
    save_npz(folder_->weights(state_->step), named_arrays(averaged_model(*state_)));
    if (config_.keep_last) folder_->keep_newest(*config_.keep_last);
    observer_.saved(folder_->weights(state_->step));
  }
  saved_step_ = state_->step;
  begun_.reset();
}

void Run::end_iteration(int64_t iteration) {
  finish_pending();
  bool evaluates = data_.test && iteration - 1 >= config_.min_eval_interval;
  bool last = iteration >= iterations_;
  // Before the evaluation, so that a kill during it costs no training.
  if (last || (config_.checkpoint_every_eval && iteration - 1 >= config_.min_eval_interval)) save();
  bool done = log_ && log_->evaluated_at() == state_->step;
  if (evaluates && ranks_.sum(mx::array(done ? 1 : 0)).item<int>() == 0) evaluate_and_log();
  begun_.reset();
}

void Run::evaluate_and_log() {
  EvalIterator batches(*data_.test, config_.global_batch_size, ranks_.rank(), ranks_.size(),
                       config_.max_eval_examples);
  int64_t rows =
      std::min(data_.test->examples(), config_.max_eval_examples.value_or(data_.test->examples()));
  EvaluateOptions options;
  options.keep_preds = !config_.eval_save_outputs.empty();
  for (auto& arc : voting_) arc.begin_round();
  if (!voting_.empty()) {
    options.on_answer = [&](const Batch& batch, int row, const int32_t* preds, float q_halt, bool) {
      auto* inputs = batch.inputs.data() + static_cast<size_t>(row) * batch.seq_len;
      for (auto& arc : voting_) {
        arc.add(batch.puzzle_identifiers[static_cast<size_t>(row)], inputs, preds, q_halt);
      }
    };
  }
  options.on_batch = [&](int64_t done) {
    observer_.evaluating(std::min(rows, done * ranks_.size()), rows);
    return true;
  };
  auto result = evaluate(
      averaged_model(*state_), [&] { return batches.next(); }, options);
  Arrays sums;
  for (double sum : result.sums) sums.push_back(mx::array(static_cast<float>(sum)));
  sums = ranks_.sum(sums);
  mx::eval(sums);
  double asked = std::max(1.0f, sums[kCount].item<float>());
  MetricsLine line{state_->step, elapsed(), {}};
  for (size_t i = 0; i < kMetricNames.size(); ++i) {
    double value = sums[i].item<float>();
    line.values.emplace_back(fmt::format("eval/{}", kMetricNames[i]),
                             i == kCount ? value : value / asked);
  }
  for (auto& arc : voting_) {
    auto scores = gathered(ranks_, arc).scores();
    for (auto& [k, value] : scores.pass_at) {
      line.values.emplace_back(fmt::format("ARC/pass@{}", k), value);
    }
    if (!folder_) continue;
    write_file_atomically(folder_->path() / fmt::format("step_{}_submission.json", state_->step),
                          scores.submission);
  }
  log(line);
  if (options.keep_preds) gather_answers(ranks_, rows, config_.global_batch_size, result);
  if (folder_ && options.keep_preds) {
    save_outputs(folder_->path() / fmt::format("step_{}_preds.npz", state_->step),
                 config_.eval_save_outputs, *data_.test, result);
  }
  observer_.evaluated(line);
}

}  // namespace

int64_t total_steps(int64_t epochs, int64_t groups, double mean_puzzle_examples,
                    int64_t global_batch_size) {
  return static_cast<int64_t>(static_cast<double>(epochs) * static_cast<double>(groups) *
                              mean_puzzle_examples / static_cast<double>(global_batch_size));
}

RunResult pretrain(const RunRequest& request, const Ranks& ranks, Observer& observer,
                   const std::atomic<bool>& stop) {
  return Run(request, ranks, observer, stop).train();
}

}  // namespace trm
