#include "cli/csv_info.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include <fmt/format.h>

#include "trm/data/dataset_info.h"
#include "trm/data/maze_dataset.h"
#include "trm/data/parallel.h"
#include "trm/data/sudoku_dataset.h"
#include "trm/io/text.h"

namespace trm::cli {

namespace {

using Numbers = std::vector<double>;

double correlation(const Numbers& a, const Numbers& b) {
  auto n = static_cast<double>(a.size());
  double ma = std::accumulate(a.begin(), a.end(), 0.0) / n;
  double mb = std::accumulate(b.begin(), b.end(), 0.0) / n;
  double ab = 0, aa = 0, bb = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    ab += (a[i] - ma) * (b[i] - mb);
    aa += (a[i] - ma) * (a[i] - ma);
    bb += (b[i] - mb) * (b[i] - mb);
  }
  return aa > 0 && bb > 0 ? ab / std::sqrt(aa * bb) : 0.0;
}

/// The rank of each number, equal ones sharing the mean of theirs.
Numbers ranks_of(const Numbers& values) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return values[a] < values[b]; });
  Numbers ranks(values.size());
  for (size_t from = 0, to = 0; from < order.size(); from = to) {
    while (to < order.size() && values[order[to]] == values[order[from]]) ++to;
    for (size_t i = from; i < to; ++i) ranks[order[i]] = static_cast<double>(from + to - 1) / 2;
  }
  return ranks;
}

Numbers log1p_of(Numbers values) {
  for (auto& v : values) v = std::log1p(std::max(v, 0.0));
  return values;
}

nlohmann::json compare_ratings(const std::vector<SudokuRow>& rows) {
  Numbers column(rows.size()), ours(rows.size());
  parallel_for(static_cast<int64_t>(rows.size()), [&](int64_t i) {
    auto at = static_cast<size_t>(i);
    column[at] = static_cast<double>(rows[at].rating);
    ours[at] = rate_sudoku(rows[at].pair.question);
  });
  auto mean = [](const Numbers& v) {
    return std::accumulate(v.begin(), v.end(), 0.0) / static_cast<double>(v.size());
  };
  return {{"mean_of_column", mean(column)},
          {"mean_of_ours", mean(ours)},
          {"correlation", correlation(column, ours)},
          {"correlation_of_log", correlation(log1p_of(column), log1p_of(ours))},
          {"correlation_of_ranks", correlation(ranks_of(column), ranks_of(ours))}};
}

nlohmann::json sudoku_info(const CsvInfoOptions& o) {
  auto rows = read_sudoku_csv(o.file);
  std::set<std::string> distinct;
  std::vector<uint8_t> unique(rows.size());
  parallel_for(static_cast<int64_t>(rows.size()), [&](int64_t i) {
    auto at = static_cast<size_t>(i);
    unique[at] = solve_sudoku(rows[at].pair.question).found == 1;
  });
  int64_t low = INT64_MAX, high = INT64_MIN, few = 81, many = 0;
  double ratings = 0;
  for (auto& row : rows) {
    distinct.insert(to_text(row.pair.question));
    low = std::min(low, row.rating);
    high = std::max(high, row.rating);
    ratings += static_cast<double>(row.rating);
    few = std::min<int64_t>(few, row.pair.question.givens());
    many = std::max<int64_t>(many, row.pair.question.givens());
  }
  nlohmann::json info = {{"path", o.file},
                         {"kind", "Sudoku"},
                         {"size", rows[0].pair.question.size},
                         {"rows", rows.size()},
                         {"distinct", distinct.size()},
                         {"with_one_solution", std::count(unique.begin(), unique.end(), 1)},
                         {"givens", {few, many}},
                         {"rating", {low, high}},
                         {"mean_rating", ratings / static_cast<double>(rows.size())}};
  if (o.rate) info["our_rating"] = compare_ratings(rows);
  if (!o.against.empty()) {
    auto questions = [](const std::vector<SudokuRow>& from) {
      std::vector<Sudoku> out;
      for (auto& row : from) out.push_back(row.pair.question);
      return out;
    };
    auto leak = sudoku_leakage(questions(read_sudoku_csv(o.against)), questions(rows));
    info["leakage"] = {{"against", o.against},
                       {"exact", leak.exact},
                       {"symmetric", leak.symmetric},
                       {"first", leak.first}};
  }
  return info;
}

nlohmann::json maze_info(const CsvInfoOptions& o) {
  auto rows = read_maze_csv(o.file);
  std::set<std::string> distinct;
  std::vector<std::pair<Grid, Grid>> mazes;
  for (auto& row : rows) {
    distinct.insert(to_text(row.question));
    mazes.emplace_back(row.question, row.answer);
  }
  auto facts = maze_facts(mazes);
  return {{"path", o.file},
          {"kind", "maze"},
          {"size", rows[0].question.rows},
          {"rows", rows.size()},
          {"distinct", distinct.size()},
          {"maze", maze_json(facts)}};
}

}  // namespace

nlohmann::json maze_json(const MazeFacts& m) {
  return {{"shortest_path_steps", {m.least_steps, m.most_steps}},
          {"mean_steps", m.mean_steps},
          {"wall_share", m.wall_share},
          {"without_path", m.without_path},
          {"with_one_shortest_path", m.with_one_path},
          {"labels_that_are_shortest", m.shortest_labels},
          {"labels_by_the_rule", m.rule_labels}};
}

void print_maze_facts(const nlohmann::json& m) {
  auto steps = m["shortest_path_steps"];
  fmt::print(
      "  shortest paths of {}-{} steps, mean {:.1f}; walls {:.3f}; {} mazes without a path, {} "
      "with "
      "only one that short; {} labels are a shortest path, {} the one of the data set's rule\n",
      steps[0].get<int64_t>(), steps[1].get<int64_t>(), m["mean_steps"].get<double>(),
      m["wall_share"].get<double>(), m["without_path"].get<int64_t>(),
      m["with_one_shortest_path"].get<int64_t>(), m["labels_that_are_shortest"].get<int64_t>(),
      m["labels_by_the_rule"].get<int64_t>());
}

nlohmann::json csv_info(const CsvInfoOptions& o) {
  bool maze = is_maze_csv(o.file);
  if (maze && (o.rate || !o.against.empty())) fail("[dataset] --rate and --against are for Sudoku");
  return maze ? maze_info(o) : sudoku_info(o);
}

void print_csv_info(const nlohmann::json& i) {
  auto path = printable(i["path"].get<std::string>());
  auto number = [&](const char* key) { return i[key].get<int64_t>(); };
  if (i["kind"] == "maze") {
    fmt::print("{}: {} mazes of {}x{}, {} distinct\n", path, number("rows"), number("size"),
               number("size"), number("distinct"));
    return print_maze_facts(i["maze"]);
  }
  auto range = [&](const char* key) {
    auto low = i[key][0].get<int64_t>(), high = i[key][1].get<int64_t>();
    return low == high ? std::to_string(low) : fmt::format("{}-{}", low, high);
  };
  fmt::print(
      "{}: {} Sudoku of {}x{}, {} distinct, {} with one solution; {} givens; rating {}, mean "
      "{:.1f}\n",
      path, number("rows"), number("size"), number("size"), number("distinct"),
      number("with_one_solution"), range("givens"), range("rating"),
      i["mean_rating"].get<double>());
  if (i.contains("our_rating")) {
    auto& r = i["our_rating"];
    fmt::print(
        "our rating: mean {:.1f}; correlation with the column {:.2f}, of log(1 + rating) {:.2f}, "
        "of "
        "ranks {:.2f}\n",
        r["mean_of_ours"].get<double>(), r["correlation"].get<double>(),
        r["correlation_of_log"].get<double>(), r["correlation_of_ranks"].get<double>());
  }
  if (i.contains("leakage")) {
    auto& l = i["leakage"];
    fmt::print("leakage: {} rows stand in {}, {} with their symmetric forms\n",
               l["exact"].get<int64_t>(), printable(l["against"].get<std::string>()),
               l["symmetric"].get<int64_t>());
  }
}

}  // namespace trm::cli
