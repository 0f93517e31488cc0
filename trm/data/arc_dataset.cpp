#include "trm/data/arc_dataset.h"

#include <algorithm>
#include <map>
#include <stdexcept>
#include <unordered_map>
#include <unordered_set>

#include <fmt/format.h>

#include "trm/data/json_file.h"
#include "trm/data/parallel.h"
#include "trm/io/text.h"

namespace trm {

namespace {

using Json = nlohmann::ordered_json;

struct U128 {
  uint64_t a = 0, b = 0;
  bool operator==(const U128&) const = default;
};
struct HashU128 {
  size_t operator()(const U128& x) const { return x.a; }
};

uint64_t mix(uint64_t x) {  // SplitMix64's finalizer
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  return x ^ x >> 31;
}

/// Tells augmented forms of one task apart without building them. The reference hashes every grid;
/// equal there means equal multisets of (input, output) pairs. A pair's sum over cells of
/// key(cell) * key(colour) splits by old colour, so each form costs ten products a pair. Two
/// 64-bit sums: a chance collision is out of reach.
class FormHash {
 public:
  FormHash(const ArcTask& task) {
    for (auto* pairs : {&task.train, &task.test}) {
      for (auto& pair : *pairs) {
        for (int t = 0; t < 8; ++t) forms_[t].push_back(Form(pair, t));
      }
    }
  }

  U128 operator()(const ArcAugmentation& a) const {
    U128 sum;
    for (auto& form : forms_[a.transform]) {
      U128 pair = form.shape;
      for (int c = 0; c < 10; ++c) {
        pair.a += form.cells[c].a * (mix(a.colours[c] + 101u) | 1);
        pair.b += form.cells[c].b * (mix(a.colours[c] + 201u) | 1);
      }
      sum.a += mix(pair.a);
      sum.b += mix(pair.b);
    }
    return sum;
  }

 private:
  struct Form {
    U128 shape, cells[10];
    Form(const ArcPair& pair, int transform) {
      int side = 0;
      for (auto* old : {&pair.input, &pair.output}) {
        Grid grid = dihedral(*old, transform);
        uint64_t key = static_cast<uint64_t>(side++ * 32 + grid.rows) * 32 + grid.columns;
        shape.a += mix(key + 0x10000);
        shape.b += mix(key + 0x20000);
        for (int r = 0; r < grid.rows; ++r) {
          for (int c = 0; c < grid.columns; ++c) {
            uint64_t cell = static_cast<uint64_t>(side * 32 + r) * 32 + c;
            U128& sum = cells[grid.at(r, c)];
            sum.a += mix(cell + 0x30000);
            sum.b += mix(cell + 0x40000);
          }
        }
      }
    }
  };
  std::vector<Form> forms_[8];
};

/// A task of a subset with its distinct forms, the original first.
struct Group {
  ArcTask task;
  bool is_test = false;
  std::vector<ArcAugmentation> forms;

  /// Its pairs in the training or the test split, in the file's order.
  std::vector<const ArcPair*> pairs(bool test_split) const {
    std::vector<const ArcPair*> out;
    auto add = [&](const std::vector<ArcPair>& from) {
      for (auto& pair : from) out.push_back(&pair);
    };
    bool use_test = test_split == is_test, use_train = !test_split;
    if (use_test && task.test_first) add(task.test);
    if (use_train) add(task.train);
    if (use_test && !task.test_first) add(task.test);
    return out;
  }
};

Group augment(ArcTask task, bool is_test, int64_t num_aug, NumpyMt19937& rng) {
  Group group{std::move(task), is_test, {{}}};
  if (num_aug == 0) return group;
  constexpr int64_t kRetries = 5;
  FormHash hash(group.task);
  std::unordered_set<U128, HashU128> seen{hash({})};
  for (int64_t i = 0; i < kRetries * num_aug; ++i) {
    auto form = ArcAugmentation::draw(rng);
    if (seen.insert(hash(form)).second) group.forms.push_back(form);
    if (static_cast<int64_t>(group.forms.size()) == num_aug + 1) break;
  }
  return group;
}

/// The tasks of one subset in the file's order, solutions filled in. Test pairs are completed in
/// `json` too, which becomes test_puzzles.json.
std::vector<ArcTask> read_subset(const ArcDatasetOptions& o, const std::string& subset, Json& json,
                                 ArcDatasetReport& report) {
  std::filesystem::path file = fmt::format("{}_{}_challenges.json", o.input_file_prefix, subset);
  json = read_json_file(file);
  auto shown = printable(file.string());
  if (!json.is_object() || json.empty()) fail("[arc] {}: an object of tasks is expected", shown);
  std::filesystem::path answers = fmt::format("{}_{}_solutions.json", o.input_file_prefix, subset);
  if (std::filesystem::exists(answers)) {
    auto solutions = read_json_file(answers);
    auto solutions_shown = printable(answers.string());
    if (!solutions.is_object())
      fail("[arc] {}: an object of solutions is expected", solutions_shown);
    for (auto& [name, task] : json.items()) {
      auto it = solutions.find(name);
      if (it == solutions.end()) fail("[arc] {} lacks task {}", solutions_shown, printable(name));
      bool fits = it->is_array() && task.is_object() && task.contains("test") &&
                  task["test"].is_array() && it->size() <= task["test"].size();
      if (!fits) {
        fail("[arc] {}: more solutions of task {} than {} has test pairs", solutions_shown,
             printable(name), shown);
      }
      for (size_t i = 0; i < it->size(); ++i) {
        if (!task["test"][i].is_object())
          fail("[arc] {}: task {} is malformed", shown, printable(name));
        task["test"][i]["output"] = (*it)[i];
      }
    }
  } else {
    report.without_solutions.push_back(subset);
    for (auto& [name, task] : json.items()) {
      if (!task.is_object() || !task.contains("test") || !task["test"].is_array()) continue;
      for (auto& example : task["test"]) {
        if (example.is_object() && !example.contains("output")) {
          example["output"] = Json::parse("[[0]]");
        }
      }
    }
  }
  std::vector<ArcTask> tasks;
  for (auto& [name, task] : json.items()) tasks.push_back(parse_arc_task(name, task));
  return tasks;
}

/// Identifiers in the order in which the splits meet the names. A repeated name keeps its number.
class Identifiers {
 public:
  explicit Identifiers(int64_t start) : start_(start) {}

  int32_t of(const std::string& task, const ArcAugmentation& form, bool original) {
    // 20 bits for the task, 4 for each colour but the first, 3 + 1 for transform and original.
    uint64_t key = tasks_.try_emplace(task, tasks_.size()).first->second;
    for (size_t i = 1; i < 10; ++i) key = key << 4 | form.colours[i];
    key = key << 4 | (original ? 8u : form.transform);
    auto [it, is_new] = ids_.try_emplace(key, static_cast<int32_t>(start_) + count());
    if (is_new) names_.push_back(original ? task : task + form.suffix());
    return it->second;
  }
  int32_t count() const { return static_cast<int32_t>(names_.size()); }
  /// All names by number, <blank> before the first.
  std::vector<std::string> names() const {
    std::vector<std::string> all(static_cast<size_t>(start_), "<blank>");
    all.insert(all.end(), names_.begin(), names_.end());
    return all;
  }

 private:
  int64_t start_;
  std::unordered_map<std::string, uint64_t> tasks_;
  std::unordered_map<uint64_t, int32_t> ids_;
  std::vector<std::string> names_;
};

/// One example of one form, placed: what a worker needs to write its tokens.
struct Placement {
  const ArcPair* pair;
  const ArcAugmentation* form;
  uint8_t row = 0, column = 0;
};

/// Draws the places of all examples of `form` of a group, in the reference's order.
void place(const std::vector<const ArcPair*>& pairs, const ArcAugmentation& form, bool translate,
           NumpyMt19937& rng, std::vector<Placement>& out) {
  auto untouched = static_cast<size_t>(rng.randint(0, static_cast<int64_t>(pairs.size())));
  for (size_t i = 0; i < pairs.size(); ++i) {
    Placement p{pairs[i], &form};
    if (translate && i != untouched) {
      auto& in = pairs[i]->input;
      auto& out_grid = pairs[i]->output;
      int rows = std::max(in.rows, out_grid.rows), columns = std::max(in.columns, out_grid.columns);
      if (form.transform == 1 || form.transform == 3 || form.transform >= 6)
        std::swap(rows, columns);
      p.row = static_cast<uint8_t>(rng.randint(0, kArcSide - rows + 1));
      p.column = static_cast<uint8_t>(rng.randint(0, kArcSide - columns + 1));
    }
    out.push_back(p);
  }
}

/// Old cells of each shape and transform met so far.
class Sources {
 public:
  const std::vector<int32_t>& of(const Grid& grid, int transform) {
    auto& s = table_[static_cast<size_t>((grid.rows * 32 + grid.columns) * 8 + transform)];
    if (s.empty()) s = dihedral_source(grid.rows, grid.columns, transform);
    return s;
  }

 private:
  std::vector<std::vector<int32_t>> table_ = std::vector<std::vector<int32_t>>(32 * 32 * 8);
};

struct SplitSize {
  int64_t examples = 0, puzzles = 0;
};

SplitSize size_of(const std::vector<Group>& groups, bool test) {
  SplitSize size;
  for (auto& group : groups) {
    auto pairs = static_cast<int64_t>(group.pairs(test).size());
    if (pairs == 0) continue;
    auto forms = static_cast<int64_t>(group.forms.size());
    size.puzzles += forms;
    size.examples += forms * pairs;
  }
  return size;
}

void write_split(const std::filesystem::path& folder, const std::vector<Group>& groups, bool test,
                 Identifiers& identifiers, NumpyMt19937& rng, int64_t num_identifiers,
                 const Progress& progress) {
  std::filesystem::create_directory(folder);
  auto size = size_of(groups, test);
  TokenWriter inputs(folder / "all__inputs.npy", size.examples, kArcCells, false);
  TokenWriter labels(folder / "all__labels.npy", size.examples, kArcCells, false);
  std::vector<int32_t> ids, puzzle_indices{0}, group_indices{0};
  std::vector<Placement> placed;
  std::vector<uint8_t> in, out;
  Sources sources;
  for (auto& group : groups) {
    auto pairs = group.pairs(test);
    if (pairs.empty()) continue;
    placed.clear();
    for (size_t f = 0; f < group.forms.size(); ++f) {
      place(pairs, group.forms[f], !test, rng, placed);
      puzzle_indices.push_back(puzzle_indices.back() + static_cast<int32_t>(pairs.size()));
      ids.push_back(identifiers.of(group.task.name, group.forms[f], f == 0));
    }
    group_indices.push_back(static_cast<int32_t>(ids.size()));
    for (auto* pair : pairs) {
      for (int t = 0; t < 8; ++t) {  // filled here, only read by the workers
        sources.of(pair->input, t);
        sources.of(pair->output, t);
      }
    }
    in.resize(placed.size() * kArcCells);
    out.resize(in.size());
    constexpr int64_t kPiece = 256;
    auto count = static_cast<int64_t>(placed.size());
    parallel_for((count + kPiece - 1) / kPiece, [&](int64_t piece) {
      for (int64_t i = piece * kPiece; i < std::min(count, (piece + 1) * kPiece); ++i) {
        auto& p = placed[static_cast<size_t>(i)];
        int t = p.form->transform;
        bool turned = t == 1 || t == 3 || t >= 6;
        for (auto [grid, buffer] : {std::pair{&p.pair->input, &in}, {&p.pair->output, &out}}) {
          write_arc_tokens(*grid, sources.of(*grid, t), turned ? grid->columns : grid->rows,
                           turned ? grid->rows : grid->columns, p.form->colours, p.row, p.column,
                           buffer->data() + i * kArcCells);
        }
      }
    });
    inputs.append(in.data(), count);
    labels.append(out.data(), count);
    if (progress)
      progress(test ? "writing the test split" : "writing the training split",
               puzzle_indices.back(), size.examples);
  }
  inputs.commit();
  labels.commit();
  DatasetMetadata m;
  m.vocab_size = 10 + kArcFirstColour;
  m.seq_len = kArcCells;
  m.num_puzzle_identifiers = num_identifiers;
  write_indices(folder, m, ids, puzzle_indices, group_indices);
}

void check(const ArcDatasetOptions& o) {
  if (o.subsets.empty()) throw std::invalid_argument("[arc] no subsets are given");
  if (o.num_aug < 0 || o.num_aug > 1 << 20) {
    throw std::invalid_argument(fmt::format("[arc] {} augmentations are impossible", o.num_aug));
  }
  if (o.puzzle_identifiers_start < 1 || o.puzzle_identifiers_start > 1 << 30) {
    throw std::invalid_argument("[arc] puzzle_identifiers_start needs to be at least 1");
  }
  bool has_test = false;
  for (auto& subset : o.subsets)
    has_test |= subset == o.test_set_name || subset == o.test_set_name2;
  if (!has_test) {
    throw std::invalid_argument(
        fmt::format("[arc] the test set '{}' is none of the subsets", printable(o.test_set_name)));
  }
}

}  // namespace

ArcDatasetReport write_arc_dataset(const std::filesystem::path& output, const ArcDatasetOptions& o,
                                   const Progress& progress) {
  check(o);
  ArcDatasetReport report;
  NumpyMt19937 rng(o.seed);
  Json test_puzzles = Json::object();
  std::vector<Group> groups;
  for (auto& subset : o.subsets) {
    Json json;
    auto tasks = read_subset(o, subset, json, report);
    rng.shuffle(tasks.size(), [&](size_t i, size_t j) { std::swap(tasks[i], tasks[j]); });
    bool is_test = subset == o.test_set_name || subset == o.test_set_name2;
    for (auto& task : tasks) {
      if (is_test) test_puzzles[task.name] = std::move(json[task.name]);
      groups.push_back(augment(std::move(task), is_test, o.num_aug, rng));
      auto forms = static_cast<int64_t>(groups.back().forms.size());
      if (forms < o.num_aug + 1) report.not_full.emplace_back(groups.back().task.name, forms);
    }
    if (progress) progress("augmenting", static_cast<int64_t>(groups.size()), -1);
  }
  auto train = size_of(groups, false), test = size_of(groups, true);
  if (train.examples > INT32_MAX || groups.size() >> 20) {
    fail("[arc] {} examples are too many for the format", train.examples);
  }
  // Every identifier is met in the training split, in its order.
  Identifiers identifiers(o.puzzle_identifiers_start);
  for (auto& group : groups) {
    for (size_t f = 0; f < group.forms.size(); ++f)
      identifiers.of(group.task.name, group.forms[f], f == 0);
  }
  report.tasks = static_cast<int64_t>(groups.size());
  report.identifiers = o.puzzle_identifiers_start + identifiers.count();
  report.train_examples = train.examples;
  report.test_examples = test.examples;
  StagedFolder staged(output, set_bytes(train.examples, train.puzzles, kArcCells, 1) +
                                  set_bytes(test.examples, test.puzzles, kArcCells, 1) +
                                  static_cast<uint64_t>(report.identifiers) * 48);
  write_split(staged.path() / "train", groups, false, identifiers, rng, report.identifiers,
              progress);
  write_split(staged.path() / "test", groups, true, identifiers, rng, report.identifiers, progress);
  write_identifiers(staged.path(), identifiers.names());
  write_file_atomically(staged.path() / "test_puzzles.json", python_json(test_puzzles));
  staged.commit();
  return report;
}

std::vector<std::string> read_identifiers(const std::filesystem::path& file) {
  auto json = read_json_file(file);
  auto shown = printable(file.string());
  if (!json.is_array()) fail("[arc] {}: a list of names is expected", shown);
  std::vector<std::string> names;
  for (auto& name : json) {
    if (!name.is_string()) fail("[arc] {}: entry {} is not a string", shown, names.size());
    names.push_back(name.get<std::string>());
  }
  return names;
}

std::string python_json(const Json& json) {
  if (json.is_string()) return json_string(json.get<std::string>());
  if (!json.is_structured()) return json.dump();
  std::string text;
  for (auto it = json.begin(); it != json.end(); ++it) {
    if (!text.empty()) text += ", ";
    if (json.is_object()) text += json_string(it.key()) + ": ";
    text += python_json(*it);
  }
  return json.is_object() ? "{" + text + "}" : "[" + text + "]";
}

}  // namespace trm
