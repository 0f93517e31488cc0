// trm solve: ARC tasks, every known augmented form of a test input voting for an answer.
#include <cstdio>
#include <filesystem>
#include <set>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "cli/solve.h"
#include "trm/data/arc_dataset.h"
#include "trm/data/json_file.h"
#include "trm/eval/arc_voting.h"
#include "trm/io/text.h"
#include "trm/train/config.h"

namespace trm::cli {

namespace {

namespace fs = std::filesystem;

struct Task {
  ArcTask task;
  std::vector<bool> has_solution;  // by test input
};

Task read_task(const std::string& name, const nlohmann::ordered_json& json) {
  Task out{parse_arc_task(name, json), {}};
  for (auto& pair : json.at("test")) out.has_solution.push_back(pair.contains("output"));
  return out;
}

/// A task's file, or one of many tasks by name.
std::vector<Task> read_tasks(const std::vector<SolveText>& files) {
  std::vector<Task> tasks;
  for (auto& file : files) {
    auto shown = file.name.empty() ? std::string("stdin") : printable(file.name);
    auto json = parse_json(file.text, shown);
    if (!json.is_object() || json.empty()) fail("[solve] {}: no ARC task", shown);
    if (json.contains("train") && json.contains("test")) {
      auto stem = fs::path(file.name).stem().string();
      tasks.push_back(read_task(stem.empty() ? "task" : stem, json));
      continue;
    }
    for (auto& [name, task] : json.items()) tasks.push_back(read_task(name, task));
  }
  std::set<std::string> names;
  for (auto& task : tasks) {
    if (!names.insert(task.task.name).second) {
      fail("[solve] task {} is given twice", printable(task.task.name));
    }
  }
  return tasks;
}

/// identifiers.json of --data, or of the data that the run beside the checkpoint names.
std::vector<std::string> identifiers_of(const SolveOptions& o) {
  if (!o.data.empty()) return read_identifiers(fs::path(o.data) / "identifiers.json");
  auto run = fs::path(o.checkpoint).parent_path() / "all_config.yaml";
  if (fs::exists(run)) {
    for (auto& path : load_run_config(run, {}).data_paths) {
      auto file = fs::path(path) / "identifiers.json";
      if (fs::exists(file)) return read_identifiers(file);
    }
  }
  throw std::invalid_argument(
      "[solve] which row of the model's puzzle embedding belongs to which ARC task is not known: "
      "name the data set that it was trained on with --data DIR (its identifiers.json)");
}

struct Form {
  int32_t identifier = 0;
  ArcAugmentation augmentation;
};

/// The forms of `task` that the model was trained with, in the order of their identifiers.
std::vector<Form> forms_of(const std::vector<std::string>& identifiers, const std::string& task) {
  std::vector<Form> forms;
  for (size_t i = 0; i < identifiers.size(); ++i) {
    const auto& name = identifiers[i];
    bool of_task =
        name == task || (name.starts_with(task) &&
                         std::string_view(name).substr(task.size()).starts_with(kArcSeparator));
    if (of_task) forms.push_back({static_cast<int32_t>(i), parse_arc_name(name).augmentation});
  }
  return forms;
}

nlohmann::json rows_of(const Grid& grid) {
  auto rows = nlohmann::json::array();
  for (int r = 0; r < grid.rows; ++r) {
    auto from = grid.cells.begin() + r * grid.columns;
    rows.push_back(std::vector<int>(from, from + grid.columns));
  }
  return rows;
}

std::string verdict(const Task& task, size_t input, const std::vector<ArcVoting::Answer>& ranking) {
  if (!task.has_solution[input]) return "unknown: the file has no solution";
  for (size_t i = 0; i < ranking.size(); ++i) {
    if (ranking[i].grid == task.task.test[input].output) {
      return i == 0 ? "solved" : fmt::format("wrong, but answer {} is right", i + 1);
    }
  }
  return "wrong";
}

void print_unknown(const std::string& name, size_t known) {
  fmt::print(
      stderr,
      "note: {} is none of the {} puzzles in identifiers.json, so the model has no embedding "
      "for it. A TRM does not see a task's examples when it answers: it learns a vector for "
      "each task from them in training. With the blank vector, what follows is a guess that "
      "does not know the task's rule; train with the task to have it solved\n",
      printable(name), known);
}

double confidence(const ArcVoting::Answer& answer) {
  return answer.q_sum / static_cast<double>(answer.votes);
}

nlohmann::json to_json(const Task& task, size_t input,
                       const std::vector<ArcVoting::Answer>& ranking, size_t views) {
  auto answers = nlohmann::json::array();
  for (auto& a : ranking) {
    answers.push_back({{"grid", rows_of(a.grid)}, {"votes", a.votes}, {"halt", confidence(a)}});
  }
  return {{"task", task.task.name},
          {"test", input},
          {"views", views},
          {"verdict", verdict(task, input, ranking)},
          {"answers", answers}};
}

void draw(const Task& task, size_t input, const std::vector<ArcVoting::Answer>& ranking,
          size_t views, int attempts) {
  bool colours = isatty(STDOUT_FILENO);
  auto question = arc_tokens(task.task.test[input].input);
  for (size_t i = 0; i < std::min(ranking.size(), static_cast<size_t>(attempts)); ++i) {
    const auto& a = ranking[i];
    fmt::print("{}, test {}, answer {}: {} of {} votes, halting probability {:.0f}%\n",
               printable(task.task.name), input + 1, i + 1, a.votes, views, 100 * confidence(a));
    if (a.grid.cells.empty()) {
      fmt::print("(empty: no rectangle of colours starts in the corner)\n");
    } else {
      fmt::print("{}", picture_text(PuzzleKind::arc, question, arc_tokens(a.grid), colours));
    }
  }
  fmt::print("{}\n", verdict(task, input, ranking));
}

}  // namespace

void solve_arc(const SolveOptions& o, const std::vector<SolveText>& files) {
  auto tasks = read_tasks(files);
  auto identifiers = identifiers_of(o);
  const auto known = identifiers.size();
  std::vector<ArcTask> plain;
  std::vector<PuzzleRow> puzzles;
  std::vector<int32_t> voters;  // identifier that each puzzle votes as
  std::vector<size_t> views;    // by task
  for (auto& task : tasks) {
    plain.push_back(task.task);
    auto forms = forms_of(identifiers, task.task.name);
    bool is_known = !forms.empty();
    if (!is_known) {
      print_unknown(task.task.name, known);
      forms.push_back({static_cast<int32_t>(identifiers.size()), {}});
      identifiers.push_back(task.task.name);
    }
    forms.resize(std::min(forms.size(), static_cast<size_t>(o.views.value_or(32))));
    views.push_back(forms.size());
    for (auto& pair : task.task.test) {
      for (auto& form : forms) {
        puzzles.push_back({arc_tokens(form.augmentation(pair.input)),
                           std::vector<int32_t>(kArcCells, kIgnoreLabel),
                           is_known ? form.identifier : 0});
        voters.push_back(form.identifier);
      }
    }
  }
  ArcVotingOptions options;
  ArcVoting voting(identifiers, plain, options);
  EvaluateOptions run;
  run.on_answer = [&](const Batch& batch, int row, const int32_t* preds, float q_halt, bool) {
    auto index = static_cast<size_t>(batch.examples[static_cast<size_t>(row)]);
    voting.add(voters[index], puzzles[index].inputs.data(), preds, q_halt);
  };
  solve_rows(load_solver(o, static_cast<int>(puzzles[0].inputs.size())), o, puzzles, run);
  if (!o.json && !o.draws()) fmt::print("{}\n", voting.scores().submission);
  size_t pictures = 0, picture = 0;
  for (auto& task : tasks) pictures += task.task.test.size();
  for (size_t t = 0; t < tasks.size(); ++t) {
    for (size_t i = 0; i < tasks[t].task.test.size(); ++i, ++picture) {
      auto ranking = voting.ranking(t, i);
      if (o.json) fmt::print("{}\n", to_json(tasks[t], i, ranking, views[t]).dump());
      if (o.draws()) draw(tasks[t], i, ranking, views[t], options.attempts);
      write_picture(o, picture, pictures,
                    picture_image(PuzzleKind::arc, arc_tokens(tasks[t].task.test[i].input),
                                  arc_tokens(ranking.front().grid)));
    }
  }
}

}  // namespace trm::cli
