// trm dataset info: CSV files, and what it says of mazes wherever they stand.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "trm/data/dataset_info.h"

namespace trm::cli {

struct CsvInfoOptions {
  std::string file, against;  // against: a CSV file of training Sudoku
  bool rate = false;          // compare our rating with the column
};

nlohmann::json maze_json(const MazeFacts& facts);
void print_maze_facts(const nlohmann::json& facts);

/// Counts what stands in a CSV file of Sudoku or mazes. Throws std::runtime_error.
nlohmann::json csv_info(const CsvInfoOptions& options);
/// The same as text.
void print_csv_info(const nlohmann::json& info);

}  // namespace trm::cli
