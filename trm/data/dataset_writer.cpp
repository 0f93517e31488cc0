#include "trm/data/dataset_writer.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include <fcntl.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "trm/io/text.h"

namespace trm {

namespace {

namespace fs = std::filesystem;

/// Whether every file below `folder` is one that a builder of data sets writes.
bool only_dataset_files(const fs::path& folder) {
  for (auto& entry : fs::recursive_directory_iterator(folder)) {
    auto name = entry.path().filename().string();
    auto depth_one = entry.path().parent_path() == folder;
    if (entry.is_directory() && !entry.is_symlink()) {
      if (!depth_one || (name != "train" && name != "test")) return false;
    } else if (depth_one) {
      if (name != "identifiers.json" && name != "test_puzzles.json") return false;
    } else if (name != "dataset.json" && name.find("__") == std::string::npos) {
      return false;
    }
  }
  return true;
}

/// Exchanges two folders in one step where the system can, in two renames where not.
void exchange(const fs::path& a, const fs::path& b) {
#if defined(__linux__) && defined(RENAME_EXCHANGE)
  if (renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE) == 0) return;
#endif
  fs::path aside = b.string() + ".old";
  fs::rename(b, aside);
  fs::rename(a, b);
  fs::rename(aside, a);
}

}  // namespace

StagedFolder::StagedFolder(fs::path output, uint64_t bytes_needed) : output_(std::move(output)) {
  if (output_.empty()) throw std::invalid_argument("[dataset] the output folder's name is empty");
  if (!output_.has_filename()) output_ = output_.parent_path();  // "dir/"
  auto shown = printable(output_.string());
  if (fs::exists(output_) && (!fs::is_directory(output_) || !only_dataset_files(output_))) {
    fail("[dataset] {} exists and holds other things than a data set: choose another folder",
         shown);
  }
  auto parent = folder_of(output_);
  fs::create_directories(parent);
  auto free = fs::space(parent).available;
  if (free < bytes_needed) {
    fail("[dataset] {} needs {} MB and the disk has {} MB free", shown, bytes_needed >> 20,
         free >> 20);
  }
  std::string name = output_.string() + ".tmp-XXXXXX";
  if (!mkdtemp(name.data())) {
    fail("[dataset] cannot create a folder beside {}: {}", shown, strerror(errno));
  }
  staging_ = name;
  mode_t mask = umask(0);
  umask(mask);
  chmod(name.c_str(), 0777 & ~mask);
}

StagedFolder::~StagedFolder() {
  std::error_code error;
  if (!staging_.empty()) fs::remove_all(staging_, error);
}

void StagedFolder::commit() {
  if (fs::exists(output_)) {
    exchange(staging_, output_);  // the old set is now in staging_ and goes with it
  } else {
    fs::rename(staging_, output_);
    staging_.clear();
  }
}

TokenWriter::TokenWriter(const fs::path& file, int64_t rows, int64_t seq_len, bool as_int64)
    : file_(file), rows_(rows), seq_len_(seq_len), as_int64_(as_int64) {
  int64_t shape[] = {rows, seq_len};
  file_.write(as_int64 ? npy_header('i', 8, shape) : npy_header('u', 1, shape));
}

void TokenWriter::append(const uint8_t* tokens, int64_t count) {
  auto n = static_cast<size_t>(count * seq_len_);
  written_ += count;
  if (!as_int64_) {
    file_.write(tokens, n);
    return;
  }
  wide_.assign(tokens, tokens + n);
  file_.write(wide_.data(), n * sizeof(int64_t));
}

void TokenWriter::commit() {
  if (written_ != rows_) {
    throw std::logic_error(fmt::format("[dataset] {} rows written of {}", written_, rows_));
  }
  // Not flushed: gigabytes would wait for the disk. A file cut short by a power failure is found by
  // its reader, which compares header and size.
  file_.commit(false);
}

void write_indices(const fs::path& split_folder, DatasetMetadata m,
                   const std::vector<int32_t>& puzzle_identifiers,
                   const std::vector<int32_t>& puzzle_indices,
                   const std::vector<int32_t>& group_indices) {
  auto write = [&](const char* name, const std::vector<int32_t>& values) {
    int64_t shape[] = {static_cast<int64_t>(values.size())};
    write_npy<int32_t>(split_folder / fmt::format("all__{}.npy", name), values, shape);
  };
  write("puzzle_identifiers", puzzle_identifiers);
  write("puzzle_indices", puzzle_indices);
  write("group_indices", group_indices);
  m.total_groups = static_cast<int64_t>(group_indices.size()) - 1;
  if (m.total_puzzles == 0) m.total_puzzles = static_cast<int64_t>(puzzle_identifiers.size());
  if (m.mean_puzzle_examples == 0) {
    m.mean_puzzle_examples =
        static_cast<double>(puzzle_indices.back()) / static_cast<double>(puzzle_identifiers.size());
  }
  m.sets = {"all"};
  write_file_atomically(split_folder / "dataset.json", metadata_text(m));
}

uint64_t set_bytes(int64_t examples, int64_t puzzles, int64_t seq_len, int token_bytes) {
  return static_cast<uint64_t>(examples * seq_len * token_bytes * 2 + puzzles * 12 + 8192);
}

std::string json_string(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}

void write_identifiers(const fs::path& folder, const std::vector<std::string>& names) {
  std::string text = "[";
  for (auto& name : names) text += (text.size() > 1 ? ", " : "") + json_string(name);
  write_file_atomically(folder / "identifiers.json", text + "]");
}

}  // namespace trm
