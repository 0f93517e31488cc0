// Writes a data set's folder so that it is whole or not there.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "trm/data/puzzle_dataset.h"
#include "trm/io/atomic_file.h"

namespace trm {

/// Told now and then how far a piece of work is; may be empty.
using Progress = std::function<void(std::string_view what, int64_t done, int64_t total)>;

/// A folder beside `output` that takes its place in one step at commit(); without it everything is
/// removed. An existing data set in `output` is replaced only then; anything else there is refused.
class StagedFolder {
 public:
  /// Throws std::runtime_error when `output` holds files that are no data set's, or when the disk
  /// has less than `bytes_needed` free.
  StagedFolder(std::filesystem::path output, uint64_t bytes_needed);
  ~StagedFolder();
  StagedFolder(const StagedFolder&) = delete;
  StagedFolder& operator=(const StagedFolder&) = delete;

  const std::filesystem::path& path() const { return staging_; }
  void commit();

 private:
  std::filesystem::path output_, staging_;
};

/// Token rows appended to a .npy file of known length, as uint8 or int64.
class TokenWriter {
 public:
  TokenWriter(const std::filesystem::path& file, int64_t rows, int64_t seq_len, bool as_int64);
  /// Appends `count` whole rows.
  void append(const uint8_t* tokens, int64_t count);
  /// Throws std::logic_error unless all rows were given.
  void commit();

 private:
  AtomicFile file_;
  int64_t rows_, seq_len_, written_ = 0;
  bool as_int64_;
  std::vector<int64_t> wide_;
};

/// <split>/dataset.json and the three index arrays (int32) of the set "all". total_groups, sets
/// and, unless set already, total_puzzles and mean_puzzle_examples of `metadata` are filled in from
/// the arrays.
void write_indices(const std::filesystem::path& split_folder, DatasetMetadata metadata,
                   const std::vector<int32_t>& puzzle_identifiers,
                   const std::vector<int32_t>& puzzle_indices,
                   const std::vector<int32_t>& group_indices);

/// Bytes a set takes on the disk, for the check in advance.
uint64_t set_bytes(int64_t examples, int64_t puzzles, int64_t seq_len, int token_bytes);

/// identifiers.json as Python's json.dump writes the list.
void write_identifiers(const std::filesystem::path& folder, const std::vector<std::string>& names);

/// A JSON string as Python's json.dump writes it: quoted, everything above ASCII escaped.
std::string json_string(const std::string& text);

}  // namespace trm
