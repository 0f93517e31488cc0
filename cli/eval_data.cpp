#include "cli/eval_data.h"

#include <algorithm>
#include <filesystem>
#include <memory>

#include "trm/data/batches.h"
#include "trm/data/maze_dataset.h"
#include "trm/data/sudoku_dataset.h"
#include "trm/eval/row_batches.h"
#include "trm/io/text.h"

namespace trm::cli {

namespace {

/// Only the rows that hold data.
Batch without_padding(Batch batch) {
  auto rows = static_cast<size_t>(batch.rows), cells = static_cast<size_t>(batch.seq_len);
  batch.size = batch.rows;
  batch.inputs.resize(rows * cells);
  batch.labels.resize(rows * cells);
  batch.puzzle_identifiers.resize(rows);
  return batch;
}

}  // namespace

EvalData open_dataset(const std::string& folder, const std::string& split,
                      std::optional<int64_t> limit, const Ranks& ranks) {
  auto data = std::make_shared<PuzzleDataset>(std::vector<std::filesystem::path>{folder}, split);
  EvalData out;
  out.name = folder;
  out.kind = kind_of(data->metadata());
  out.rows = limit ? std::min(*limit, data->examples()) : data->examples();
  out.cells = static_cast<int>(data->metadata().seq_len);
  bool votes = out.kind == PuzzleKind::arc && split == "test" &&
               std::filesystem::exists(std::filesystem::path(folder) / "test_puzzles.json");
  if (votes) out.arc_folder = folder;
  int rank = ranks.rank(), processes = ranks.size();
  out.open = [data, limit, rank, processes](int batch_size) -> NextBatch {
    auto batches = std::make_shared<EvalIterator>(*data, int64_t{batch_size} * processes, rank,
                                                  processes, limit);
    return [data, batches]() -> std::optional<Batch> {
      while (auto batch = batches->next()) {
        if (batch->rows > 0) return without_padding(std::move(*batch));
      }
      return std::nullopt;
    };
  };
  return out;
}

EvalData open_csv(const std::string& file, std::optional<int64_t> limit, const Ranks& ranks) {
  EvalData out;
  out.name = file;
  auto puzzles = std::make_shared<std::vector<PuzzleRow>>();
  if (is_maze_csv(file)) {
    out.kind = PuzzleKind::maze;
    for (auto& pair : read_maze_csv(file, limit)) puzzles->push_back(puzzle_row(pair));
  } else {
    out.kind = PuzzleKind::sudoku;
    for (auto& row : read_sudoku_csv(file, std::nullopt, limit)) {
      puzzles->push_back(puzzle_row(row.pair));
      out.ratings.push_back(row.rating);
    }
  }
  out.rows = static_cast<int64_t>(puzzles->size());
  out.cells = static_cast<int>((*puzzles)[0].inputs.size());
  // Each process takes a part of the rows.
  auto part = [&](int64_t rank) { return out.rows * rank / ranks.size(); };
  auto from = part(ranks.rank()), to = part(ranks.rank() + 1);
  auto keep = [&](auto& rows) {
    rows.erase(rows.begin() + to, rows.end());
    rows.erase(rows.begin(), rows.begin() + from);
  };
  keep(*puzzles);
  if (!out.ratings.empty()) keep(out.ratings);
  out.open = [puzzles](int batch_size) -> NextBatch {
    auto batches = std::make_shared<RowBatches>(*puzzles, batch_size);
    return [batches] { return batches->next(); };
  };
  return out;
}

}  // namespace trm::cli
