// What trm eval found out about one checkpoint, as text and JSON.
#pragma once

#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include "cli/eval_data.h"
#include "trm/eval/arc_voting.h"
#include "trm/eval/scores.h"

namespace trm::cli {

struct EvalResult {
  std::string checkpoint, dtype;
  Halt halt = Halt::none;
  std::string attempts;  // how one of several was chosen; empty for a single one
  Evaluation evaluation;
  RatingTable ratings;
  int64_t valid = 0, shortest = 0;  // answers, see AnswerCheck
  bool has_losses = true;           // not known of saved answers
  double seconds = 0;
  std::optional<ArcScores> arc;
};

/// Evaluates with `run` and counts along; adds the answers to each of `votes`.
EvalResult measure(const EvalData& data, EvaluateOptions options,
                   const std::vector<ArcVoting*>& votes,
                   const std::function<Evaluation(const EvaluateOptions&)>& run);

/// The result over all processes: sums added up, the longest time.
EvalResult summed(const Ranks& ranks, EvalResult result);

nlohmann::json to_json(const EvalData& data, const EvalResult& result);
nlohmann::json to_json(const ArcScores& arc, const std::string& votes);
void print(const EvalData& data, const EvalResult& result);
void print(const ArcScores& arc, const std::string& votes);

}  // namespace trm::cli
