// A data set in the reference's layout: <dir>/<split>/dataset.json beside
// <set>__{inputs,labels,puzzle_identifiers,puzzle_indices,group_indices}.npy.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "trm/data/batch.h"
#include "trm/data/npy.h"

namespace trm {

/// dataset.json, field by field.
struct DatasetMetadata {
  int64_t pad_id = 0;
  std::optional<int64_t> ignore_label_id = 0;  // labels of this token are not scored
  int64_t blank_identifier_id = 0;             // puzzle identifier of padding
  int64_t vocab_size = 0;
  int64_t seq_len = 0;
  int64_t num_puzzle_identifiers = 0;
  int64_t total_groups = 0;
  double mean_puzzle_examples = 0;
  int64_t total_puzzles = 0;
  std::vector<std::string> sets;
};

/// Throws std::runtime_error with the file's name for a missing field, a wrong type or an
/// impossible value.
DatasetMetadata read_metadata(const std::filesystem::path& file);
/// The same from the text of such a file; `file` is only named in errors.
DatasetMetadata parse_metadata(const std::string& text, const std::filesystem::path& file);
/// The text of dataset.json as the reference writes it, byte for byte.
std::string metadata_text(const DatasetMetadata& metadata);

/// Tokens (examples, seq_len): a uint8 file stays mapped and costs no memory; others are checked
/// and narrowed to uint8, or int32 where the vocabulary is larger.
class TokenArray {
 public:
  TokenArray(const std::filesystem::path& file, int64_t seq_len, int64_t vocab_size);
  int64_t rows() const { return rows_; }
  /// Copies one row; throws std::runtime_error where a token is outside the vocabulary.
  void copy_row(int64_t row, int32_t* out) const;

 private:
  NpyFile file_;
  int64_t rows_ = 0, seq_len_ = 0, vocab_size_ = 0;
  std::vector<uint8_t> narrow_;
  std::vector<int32_t> wide_;
};

/// One set of one folder. Groups hold puzzles, puzzles hold examples.
struct PuzzleSet {
  std::string name;
  TokenArray inputs, labels;
  std::vector<int32_t> puzzle_identifiers;  // (puzzles)
  std::vector<int64_t> puzzle_indices;      // (puzzles + 1) first example of each puzzle
  std::vector<int64_t> group_indices;       // (groups + 1) first puzzle of each group

  int64_t examples() const { return inputs.rows(); }
  int64_t puzzles() const { return static_cast<int64_t>(puzzle_identifiers.size()); }
  int64_t groups() const { return static_cast<int64_t>(group_indices.size()) - 1; }
};

/// One or several folders as one data set. Of several, the reference trains the sets one after the
/// other and lets their identifiers collide; here groups of all are drawn together, and the
/// identifiers of a later folder follow those of the earlier ones (the blank one is shared).
class PuzzleDataset {
 public:
  /// `split` is "train" or "test". Everything is validated here but the tokens of uint8 files,
  /// which are checked as they are read. Throws std::runtime_error.
  PuzzleDataset(const std::vector<std::filesystem::path>& folders, const std::string& split);

  const DatasetMetadata& metadata() const { return metadata_; }
  const std::vector<PuzzleSet>& sets() const { return sets_; }
  int64_t examples() const { return first_example_.back(); }
  int64_t groups() const { return first_group_.back(); }

  /// Set that holds example `example` of the whole data set, and its index there.
  std::pair<const PuzzleSet*, int64_t> locate_example(int64_t example) const;
  std::pair<const PuzzleSet*, int64_t> locate_group(int64_t group) const;
  /// First example of `set` in the whole data set.
  int64_t first_example(const PuzzleSet* set) const { return first_example_[set - sets_.data()]; }
  /// Puzzle identifier of an example of the whole data set.
  int32_t identifier_of(int64_t example) const;
  /// Fills row `row` of `batch`, whose vectors have their size already.
  void fill_row(int64_t example, int32_t identifier, int row, Batch& batch) const;
  /// A batch of `size` padding rows.
  Batch empty_batch(int size) const;

 private:
  DatasetMetadata metadata_;
  std::vector<PuzzleSet> sets_;
  std::vector<int64_t> first_example_{0}, first_group_{0};  // (sets + 1)
};

}  // namespace trm
