// Scoring ARC predictions as the reference's evaluators/arc.py: every augmented form of a test
// input votes for an answer.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "trm/data/arc.h"

namespace trm {

/// The answer in 900 tokens: the largest rectangle from the top left corner that holds colours
/// only, the lowest of equally large ones first met. May be 0x0.
Grid crop_arc(const int32_t* tokens);

struct ArcVotingOptions {
  bool pooled = true;  // votes of several rounds (checkpoints) together; otherwise each round alone
  int attempts = 2;    // grids a test input in submission.json
  std::vector<int> pass_at{1, 2, 5, 10, 100, 1000};
  // The reference leaves out test inputs without predictions, so that later ones move up. Here they
  // get a single black cell, unless this asks for the reference's file.
  bool skip_missing = false;
};

struct ArcScores {
  std::vector<std::pair<int, double>> pass_at;  // K and the mean share of a task's inputs solved
  std::string submission;                       // the text of submission.json
  std::vector<std::string> missing;             // tasks with an input that nobody voted on
  int64_t tasks = 0, rounds = 0;
};

class ArcVoting {
 public:
  /// Reads identifiers.json and test_puzzles.json of a data set. Throws std::runtime_error.
  ArcVoting(const std::filesystem::path& data_folder, const ArcVotingOptions& options);
  /// Votes on the test inputs of `tasks`; names of the puzzle identifiers in their order.
  ArcVoting(std::vector<std::string> identifiers, const std::vector<ArcTask>& tasks,
            const ArcVotingOptions& options);

  /// Starts an evaluation; forgets the votes so far unless they are pooled.
  void begin_round();
  /// Forgets all votes.
  void forget();
  /// One prediction, in the order of arrival: `input` and `prediction` are 900 tokens each.
  /// Identifiers of padding and of tasks outside the test set are passed over. Throws
  /// std::runtime_error for an identifier that identifiers.json does not have.
  void add(int32_t puzzle_identifier, const int32_t* input, const int32_t* prediction,
           double q_halt_logit);
  ArcScores scores() const;

  struct Answer {
    Grid grid;
    int64_t votes = 0;
    double q_sum = 0;  // of sigmoid(q_halt)
  };
  /// The answers to a test input, the best first. Task and input count from 0, as constructed.
  std::vector<Answer> ranking(size_t task, size_t input) const;

  /// All votes as text, to bring together those of several processes: merge() in the order of
  /// ranks.
  std::string state() const;
  /// Adds the votes of a state() of the same data set. Throws std::runtime_error for a damaged one.
  void merge(const std::string& state);

 private:
  struct TestInput {
    Grid input, label;
    std::vector<Answer> answers;                         // in the order of their first vote
    std::unordered_map<std::string, size_t> by_content;  // where each grid stands in `answers`
    void vote(const Grid& grid, int64_t votes, double q_sum);
    std::vector<const Answer*> ranked() const;
  };
  struct Task {
    std::string name;
    std::vector<TestInput> inputs;
  };

  void add_task(const ArcTask& task);

  ArcVotingOptions options_;
  std::vector<std::string> identifiers_;
  std::vector<Task> tasks_;  // in the order of test_puzzles.json
  std::unordered_map<std::string, size_t> task_of_;
  int64_t rounds_ = 0;
};

}  // namespace trm
