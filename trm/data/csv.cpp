#include "trm/data/csv.h"

#include <stdexcept>

#include <fmt/format.h>

#include "trm/io/text.h"

namespace trm {

CsvReader::CsvReader(const std::filesystem::path& file)
    : file_(file, std::ios::binary), in_(file_), name_(file.string()) {
  if (!file_ || !std::filesystem::is_regular_file(file)) {
    throw std::runtime_error(fmt::format("[csv] {}: no such file", printable(name_)));
  }
}

CsvReader::CsvReader(std::istream& in, std::string name) : in_(in), name_(std::move(name)) {}

void CsvReader::fail_here(const std::string& what) const {
  throw std::runtime_error(
      fmt::format("[csv] {} line {}: {}", printable(name_), record_line_, what));
}

/// One character, line ends made '\n'; -1 at the end.
int CsvReader::get() {
  int c = in_.rdbuf()->sbumpc();
  if (c == '\r') {
    if (in_.rdbuf()->sgetc() == '\n') in_.rdbuf()->sbumpc();
    c = '\n';
  }
  if (c == '\n') ++line_;
  return c;
}

bool CsvReader::next(std::vector<std::string>& fields) {
  constexpr size_t kLongest = 1 << 20;
  fields.clear();
  std::string field;
  size_t bytes = 0;
  bool quoted = false, any = false;
  record_line_ = line_;
  while (true) {
    int c = get();
    if (++bytes > kLongest) fail_here("longer than 1 MiB");
    if (quoted) {
      if (c < 0) fail_here("a quote is not closed");
      if (c != '"') {
        field += static_cast<char>(c);
      } else if (in_.rdbuf()->sgetc() == '"') {
        field += static_cast<char>(get());
      } else {
        quoted = false;
      }
    } else if (c == '"' && field.empty()) {
      quoted = any = true;
    } else if (c == ',') {
      fields.push_back(std::move(field));
      field.clear();
      any = true;
    } else if (c == '\n' || c < 0) {
      if (any || !field.empty()) {
        fields.push_back(std::move(field));
        return true;
      }
      if (c < 0) return false;
      record_line_ = line_;
      bytes = 0;
    } else {
      field += static_cast<char>(c);
    }
  }
}

}  // namespace trm
