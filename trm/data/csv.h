// Comma-separated values as Python's csv module reads them: quotes, doubled quotes, any line ends.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace trm {

class CsvReader {
 public:
  /// `name` is used in errors. Throws std::runtime_error when the file cannot be opened.
  explicit CsvReader(const std::filesystem::path& file);
  CsvReader(std::istream& in, std::string name);

  /// The next record's fields; false at the end. Empty lines are skipped. Throws std::runtime_error
  /// with the line's number for a quote that is not closed, and for a record above 1 MiB.
  bool next(std::vector<std::string>& fields);
  /// Line on which the present record starts, from 1.
  int64_t line() const { return record_line_; }
  /// Throws std::runtime_error that names the file and the present line.
  [[noreturn]] void fail_here(const std::string& what) const;

 private:
  int get();

  std::ifstream file_;
  std::istream& in_;
  std::string name_;
  int64_t line_ = 1, record_line_ = 1;
};

}  // namespace trm
