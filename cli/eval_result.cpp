#include "cli/eval_result.h"

#include <chrono>
#include <cstring>

#include <fmt/format.h>

#include "trm/io/text.h"

namespace trm::cli {

namespace {

/// Every number that processes add up.
void each_sum(EvalResult& r, auto&& use) {
  auto& e = r.evaluation;
  use(e.rows), use(e.row_steps), use(e.exact_at_q), use(e.steps_to_q);
  for (auto& sum : e.sums) use(sum);
  for (auto& s : e.steps) use(s.exact), use(s.cell_accuracy), use(s.q_halt_right);
  for (auto& n : r.ratings.rows) use(n);
  for (auto& n : r.ratings.exact) use(n);
  use(r.valid), use(r.shortest);
}

double share(double part, int64_t rows) { return rows ? part / static_cast<double>(rows) : 0.0; }
double share(int64_t part, int64_t rows) { return share(static_cast<double>(part), rows); }

nlohmann::json interval(int64_t exact, int64_t rows) {
  auto [low, high] = wilson_interval(exact, rows);
  return {low, high};
}

int64_t exact_rows(const Evaluation& e) { return e.steps.empty() ? 0 : e.steps.back().exact; }

const char* rule_of(Halt halt) {
  return halt == Halt::q ? "q" : halt == Halt::settled ? "settled" : "none";
}

}  // namespace

EvalResult measure(const EvalData& data, EvaluateOptions options,
                   const std::vector<ArcVoting*>& votes,
                   const std::function<Evaluation(const EvaluateOptions&)>& run) {
  EvalResult result;
  result.halt = options.halt;
  options.on_answer = [&](const Batch& batch, int row, const int32_t* preds, float q_halt,
                          bool exact) {
    auto at = static_cast<size_t>(row);
    const int32_t* input = &batch.inputs[at * static_cast<size_t>(batch.seq_len)];
    auto check = check_answer(data.kind, input, preds, batch.seq_len);
    result.valid += check.valid;
    result.shortest += check.shortest;
    if (!data.ratings.empty()) {
      result.ratings.add(data.ratings[static_cast<size_t>(batch.examples[at])], exact);
    }
    for (auto* v : votes) v->add(batch.puzzle_identifiers[at], input, preds, q_halt);
  };
  auto start = std::chrono::steady_clock::now();
  result.evaluation = run(options);
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

EvalResult summed(const Ranks& ranks, EvalResult result) {
  if (ranks.size() == 1) return result;
  std::vector<double> mine{result.seconds};
  each_sum(result, [&](auto& value) { mine.push_back(static_cast<double>(value)); });
  std::string bytes(mine.size() * sizeof(double), '\0');
  std::memcpy(bytes.data(), mine.data(), bytes.size());
  std::vector<double> total(mine.size());
  for (auto& text : ranks.gather(bytes)) {
    if (text.size() != bytes.size()) fail("[eval] the processes evaluate different things");
    std::vector<double> part(mine.size());
    std::memcpy(part.data(), text.data(), text.size());
    total[0] = std::max(total[0], part[0]);
    for (size_t i = 1; i < total.size(); ++i) total[i] += part[i];
  }
  result.seconds = total[0];
  size_t next = 1;
  each_sum(result, [&](auto& value) {
    value = static_cast<std::remove_reference_t<decltype(value)>>(total[next++]);
  });
  return result;
}

nlohmann::json to_json(const ArcScores& arc, const std::string& votes) {
  nlohmann::json pass;
  for (auto& [k, value] : arc.pass_at) pass[fmt::format("pass@{}", k)] = value;
  return {{"votes_of", votes},
          {"pass_at", pass},
          {"tasks", arc.tasks},
          {"tasks_without_votes", arc.missing.size()}};
}

nlohmann::json to_json(const EvalData& data, const EvalResult& r) {
  const auto& e = r.evaluation;
  nlohmann::json by_step = nlohmann::json::array();
  for (auto& s : e.steps) {
    by_step.push_back({{"exact_accuracy", share(s.exact, e.rows)},
                       {"accuracy", share(s.cell_accuracy, e.rows)},
                       {"q_halt_accuracy", share(s.q_halt_right, e.rows)}});
  }
  nlohmann::json out = {
      {"checkpoint", r.checkpoint},
      {"data", data.name},
      {"kind", name_of(data.kind)},
      {"count", e.sums[kCount]},
      {"accuracy", e.metric(kAccuracy)},
      {"exact_accuracy", e.metric(kExactAccuracy)},
      {"exact_accuracy_interval", interval(exact_rows(e), e.rows)},
      {"q_halt_accuracy", e.metric(kQHaltAccuracy)},
      {"steps", e.metric(kSteps)},
      {"by_step", by_step},
      {"halt", rule_of(r.halt)},
      {"attempts", r.attempts},
      {"at_q_halt",
       {{"exact_accuracy", share(e.exact_at_q, e.rows)}, {"steps", share(e.steps_to_q, e.rows)}}},
      {"rows", e.rows},
      {"steps_computed", share(e.row_steps, e.rows)},
      {"seconds", r.seconds}};
  if (r.has_losses) out["lm_loss"] = e.metric(kLmLoss);
  if (data.kind == PuzzleKind::sudoku || data.kind == PuzzleKind::maze) {
    out["valid"] = share(r.valid, e.rows);
  }
  if (data.kind == PuzzleKind::maze) out["valid_and_shortest"] = share(r.shortest, e.rows);
  if (!data.ratings.empty()) {
    out["by_rating"] = nlohmann::json::array();
    for (size_t i = 0; i < kRatingClasses.size(); ++i) {
      auto rows = r.ratings.rows[i], exact = r.ratings.exact[i];
      if (rows == 0) continue;
      out["by_rating"].push_back({{"rating", rating_class(i)},
                                  {"count", rows},
                                  {"exact_accuracy", share(exact, rows)},
                                  {"exact_accuracy_interval", interval(exact, rows)}});
    }
  }
  if (r.arc) out["arc"] = to_json(*r.arc, r.checkpoint);
  return out;
}

void print(const ArcScores& arc, const std::string& votes) {
  fmt::print("  ARC, votes of {}:", votes);
  for (auto& [k, value] : arc.pass_at) fmt::print(" pass@{} {:.4f}", k, value);
  fmt::print("  ({} tasks", arc.tasks);
  if (!arc.missing.empty()) {
    fmt::print(", {} with an input that got no vote", arc.missing.size());
  }
  fmt::print(")\n");
}

void print(const EvalData& data, const EvalResult& r) {
  const auto& e = r.evaluation;
  auto steps = r.attempts.empty() ? fmt::format(", {} steps", e.steps.size()) : "";
  fmt::print("{}: {} puzzles{}{}{}, {:.1f} s ({:.1f} puzzles/s)\n", printable(r.checkpoint), e.rows,
             steps, r.dtype.empty() ? "" : ", ", r.dtype, r.seconds,
             static_cast<double>(e.rows) / r.seconds);
  auto [low, high] = wilson_interval(exact_rows(e), e.rows);
  fmt::print("  {:<20}{:.4f}  ({:.4f} to {:.4f} with 95 % confidence)\n", "exact_accuracy",
             e.metric(kExactAccuracy), low, high);
  auto line = [](const char* name, double value) { fmt::print("  {:<20}{:.4f}\n", name, value); };
  line("accuracy", e.metric(kAccuracy));
  if (data.kind == PuzzleKind::sudoku) line("valid", share(r.valid, e.rows));
  if (data.kind == PuzzleKind::maze) {
    line("valid", share(r.valid, e.rows));
    line("valid_and_shortest", share(r.shortest, e.rows));
  }
  line("q_halt_accuracy", e.metric(kQHaltAccuracy));
  if (r.attempts.empty()) line("steps", e.metric(kSteps));
  if (r.has_losses) line("lm_loss", e.metric(kLmLoss));
  if (!r.attempts.empty()) {
    fmt::print("  {}: {:.2f} ACT steps a puzzle\n", r.attempts, share(e.row_steps, e.rows));
  } else if (r.halt == Halt::none) {
    fmt::print("  halting at q_halt > 0 gives {:.4f} in {:.2f} steps a puzzle\n",
               share(e.exact_at_q, e.rows), share(e.steps_to_q, e.rows));
  } else {
    fmt::print("  --halt {}: {:.2f} of {} steps a puzzle computed\n", rule_of(r.halt),
               share(e.row_steps, e.rows), e.steps.size());
  }
  if (r.attempts.empty()) fmt::print("  step        exact   cells\n");
  for (size_t s = 0; r.attempts.empty() && s < e.steps.size(); ++s) {
    fmt::print("  {:>4}       {:.4f}  {:.4f}\n", s + 1, share(e.steps[s].exact, e.rows),
               share(e.steps[s].cell_accuracy, e.rows));
  }
  if (!data.ratings.empty()) fmt::print("  rating      exact  puzzles\n");
  for (size_t i = 0; !data.ratings.empty() && i < kRatingClasses.size(); ++i) {
    if (r.ratings.rows[i] == 0) continue;
    fmt::print("  {:<10} {:.4f}  {:>7}\n", rating_class(i),
               share(r.ratings.exact[i], r.ratings.rows[i]), r.ratings.rows[i]);
  }
  if (r.arc) print(*r.arc, printable(r.checkpoint));
}

}  // namespace trm::cli
