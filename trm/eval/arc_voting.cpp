#include "trm/eval/arc_voting.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "trm/data/arc_dataset.h"
#include "trm/data/json_file.h"
#include "trm/io/text.h"

namespace trm {

namespace {

/// A grid's shape and cells as a key.
std::string content(const Grid& grid) {
  std::string key{static_cast<char>(grid.rows), static_cast<char>(grid.columns)};
  key.append(grid.cells.begin(), grid.cells.end());
  return key;
}

nlohmann::ordered_json rows_of(const Grid& grid) {
  auto rows = nlohmann::ordered_json::array();
  for (int r = 0; r < grid.rows; ++r) {
    auto from = grid.cells.begin() + r * grid.columns;
    rows.push_back(std::vector<int>(from, from + grid.columns));
  }
  return rows;
}

}  // namespace

Grid crop_arc(const int32_t* tokens) {
  int width = kArcSide, best_rows = 0, best_columns = 0;
  for (int row = 0; row < kArcSide; ++row) {
    for (int c = 0; c < width; ++c) {
      int32_t token = tokens[row * kArcSide + c];
      if (token < kArcFirstColour || token > kArcFirstColour + 9) width = c;
    }
    if ((row + 1) * width > best_rows * best_columns) {
      best_rows = row + 1;
      best_columns = width;
    }
  }
  Grid grid{best_rows, best_columns, {}};
  for (int r = 0; r < best_rows; ++r) {
    for (int c = 0; c < best_columns; ++c) {
      grid.cells.push_back(static_cast<uint8_t>(tokens[r * kArcSide + c] - kArcFirstColour));
    }
  }
  return grid;
}

ArcVoting::ArcVoting(std::vector<std::string> identifiers, const std::vector<ArcTask>& tasks,
                     const ArcVotingOptions& options)
    : options_(options), identifiers_(std::move(identifiers)) {
  if (options.attempts < 1) fail("[arc] at least one attempt is needed");
  for (int k : options.pass_at) {
    if (k < 1) fail("[arc] pass@{} is impossible", k);
  }
  for (auto& task : tasks) add_task(task);
}

ArcVoting::ArcVoting(const std::filesystem::path& data_folder, const ArcVotingOptions& options)
    : ArcVoting(read_identifiers(data_folder / "identifiers.json"), {}, options) {
  auto file = data_folder / "test_puzzles.json";
  auto json = read_json_file(file);
  if (!json.is_object() || json.empty()) {
    fail("[arc] {}: an object of tasks is expected", printable(file.string()));
  }
  for (auto& [name, task] : json.items()) {
    add_task(parse_arc_task(name, task));
  }
}

void ArcVoting::add_task(const ArcTask& task) {
  Task t{task.name, {}};
  for (auto& pair : task.test) t.inputs.push_back({pair.input, pair.output, {}, {}});
  task_of_[task.name] = tasks_.size();
  tasks_.push_back(std::move(t));
}

void ArcVoting::begin_round() {
  if (options_.pooled) {
    ++rounds_;
    return;
  }
  forget();
  rounds_ = 1;
}

void ArcVoting::forget() {
  rounds_ = 0;
  for (auto& task : tasks_) {
    for (auto& input : task.inputs) {
      input.answers.clear();
      input.by_content.clear();
    }
  }
}

void ArcVoting::TestInput::vote(const Grid& grid, int64_t votes, double q_sum) {
  auto [it, is_new] = by_content.try_emplace(content(grid), answers.size());
  if (is_new) answers.push_back({grid, 0, 0});
  answers[it->second].votes += votes;
  answers[it->second].q_sum += q_sum;
}

void ArcVoting::add(int32_t puzzle_identifier, const int32_t* input, const int32_t* prediction,
                    double q_halt_logit) {
  if (puzzle_identifier < 0 || static_cast<size_t>(puzzle_identifier) >= identifiers_.size()) {
    fail("[arc] puzzle identifier {} and identifiers.json has 0..{}", puzzle_identifier,
         identifiers_.size() - 1);
  }
  auto& identifier = identifiers_[static_cast<size_t>(puzzle_identifier)];
  if (identifier == "<blank>") return;
  auto name = parse_arc_name(identifier);
  auto task = task_of_.find(name.task);
  if (task == task_of_.end()) return;
  Grid asked = name.augmentation.inverse(crop_arc(input));
  for (auto& test : tasks_[task->second].inputs) {
    if (test.input != asked) continue;
    test.vote(name.augmentation.inverse(crop_arc(prediction)), 1,
              1 / (1 + std::exp(-q_halt_logit)));
    // The reference counts a vote for every test pair with this input; equal inputs share it.
  }
}

std::vector<const ArcVoting::Answer*> ArcVoting::TestInput::ranked() const {
  std::vector<const Answer*> ranked;
  for (auto& answer : answers) ranked.push_back(&answer);
  std::stable_sort(ranked.begin(), ranked.end(), [](const Answer* a, const Answer* b) {
    return std::tuple(a->votes, a->q_sum / static_cast<double>(a->votes)) >
           std::tuple(b->votes, b->q_sum / static_cast<double>(b->votes));
  });
  return ranked;
}

std::vector<ArcVoting::Answer> ArcVoting::ranking(size_t task, size_t input) const {
  std::vector<Answer> out;
  for (auto* answer : tasks_.at(task).inputs.at(input).ranked()) out.push_back(*answer);
  return out;
}

ArcScores ArcVoting::scores() const {
  ArcScores out;
  out.tasks = static_cast<int64_t>(tasks_.size());
  out.rounds = rounds_;
  for (int k : options_.pass_at) out.pass_at.emplace_back(k, 0);
  std::string text;
  for (auto& task : tasks_) {
    auto entries = nlohmann::ordered_json::array();
    std::vector<int> solved(out.pass_at.size());
    for (auto& input : task.inputs) {
      auto ranked = input.ranked();
      if (ranked.empty()) {
        if (out.missing.empty() || out.missing.back() != task.name)
          out.missing.push_back(task.name);
        if (options_.skip_missing) continue;
      }
      for (size_t i = 0; i < solved.size(); ++i) {
        auto k = std::min(ranked.size(), static_cast<size_t>(out.pass_at[i].first));
        solved[i] += std::any_of(ranked.begin(), ranked.begin() + static_cast<std::ptrdiff_t>(k),
                                 [&](const Answer* a) { return a->grid == input.label; });
      }
      nlohmann::ordered_json attempts;
      for (size_t i = 0; i < static_cast<size_t>(options_.attempts); ++i) {
        const Grid black{1, 1, {0}};
        const Grid& grid = ranked.empty() ? black : ranked[i < ranked.size() ? i : 0]->grid;
        attempts[fmt::format("attempt_{}", i + 1)] = rows_of(grid);
      }
      entries.push_back(std::move(attempts));
    }
    for (size_t i = 0; i < solved.size(); ++i) {
      out.pass_at[i].second +=
          static_cast<double>(solved[i]) / static_cast<double>(task.inputs.size());
    }
    text += fmt::format("{}{}: {}", text.empty() ? "{" : ", ", python_json(task.name),
                        python_json(entries));
  }
  for (auto& [k, share] : out.pass_at) share /= static_cast<double>(tasks_.size());
  out.submission = text + "}";
  return out;
}

std::string ArcVoting::state() const {
  auto tasks = nlohmann::json::array();
  for (auto& task : tasks_) {
    auto inputs = nlohmann::json::array();
    for (auto& input : task.inputs) {
      auto answers = nlohmann::json::array();
      for (auto& a : input.answers) {
        answers.push_back({a.grid.rows, a.grid.columns, a.grid.cells, a.votes, a.q_sum});
      }
      inputs.push_back(std::move(answers));
    }
    tasks.push_back(std::move(inputs));
  }
  return nlohmann::json{{"rounds", rounds_}, {"tasks", tasks}}.dump();
}

void ArcVoting::merge(const std::string& state) {
  struct Vote {
    TestInput* input;
    Answer answer;
  };
  std::vector<Vote> votes;  // all read before the first counts
  try {
    auto json = nlohmann::json::parse(state);
    auto rounds = json.at("rounds").get<int64_t>();
    auto& tasks = json.at("tasks");
    if (tasks.size() != tasks_.size()) fail("[arc] votes of another data set");
    for (size_t t = 0; t < tasks_.size(); ++t) {
      if (tasks[t].size() != tasks_[t].inputs.size()) fail("[arc] votes of another data set");
      for (size_t i = 0; i < tasks_[t].inputs.size(); ++i) {
        for (auto& a : tasks[t][i]) {
          Answer answer{{a.at(0), a.at(1), a.at(2)}, a.at(3), a.at(4)};
          auto& g = answer.grid;
          bool good = g.rows >= 0 && g.columns >= 0 && g.rows <= kArcSide &&
                      g.columns <= kArcSide &&
                      g.cells.size() == static_cast<size_t>(g.rows * g.columns) && answer.votes > 0;
          if (!good) fail("[arc] damaged votes");
          votes.push_back({&tasks_[t].inputs[i], std::move(answer)});
        }
      }
    }
    rounds_ = std::max(rounds_, rounds);
  } catch (const nlohmann::json::exception& e) {
    fail("[arc] damaged votes: {}", printable(e.what()));
  }
  for (auto& v : votes) v.input->vote(v.answer.grid, v.answer.votes, v.answer.q_sum);
}

}  // namespace trm
