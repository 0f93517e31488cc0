#include "trm/data/grid_dataset.h"

namespace trm {

namespace {

constexpr size_t kPiece = 1 << 20;  // tokens written at a time

void write_split(const std::filesystem::path& folder, int cells, int64_t vocab_size,
                 const GridSplit& split, const Progress& progress) {
  std::filesystem::create_directory(folder);
  auto examples = split.groups * split.forms;
  TokenWriter inputs(folder / "all__inputs.npy", examples, cells, split.as_int64);
  TokenWriter labels(folder / "all__labels.npy", examples, cells, split.as_int64);
  std::vector<uint8_t> in, out;
  std::vector<int32_t> indices{0}, groups{0};
  for (int64_t group = 0; group < split.groups; ++group) {
    split.append(group, in, out);
    for (int64_t i = 0; i < split.forms; ++i) indices.push_back(indices.back() + 1);
    groups.push_back(indices.back());
    if (in.size() < kPiece && group + 1 < split.groups) continue;
    inputs.append(in.data(), static_cast<int64_t>(in.size()) / cells);
    labels.append(out.data(), static_cast<int64_t>(out.size()) / cells);
    in.clear();
    out.clear();
    if (progress) progress("writing", indices.back(), examples);
  }
  inputs.commit();
  labels.commit();
  DatasetMetadata m;
  m.vocab_size = vocab_size;
  m.seq_len = cells;
  m.num_puzzle_identifiers = 1;
  m.total_puzzles = split.groups;  // the reference counts groups here
  m.mean_puzzle_examples = 1;
  write_indices(folder, m, std::vector<int32_t>(static_cast<size_t>(examples), 0), indices, groups);
}

}  // namespace

void write_grid_dataset(const std::filesystem::path& output, int cells, int64_t vocab_size,
                        const GridSplit& train, const GridSplit& test, const Progress& progress) {
  uint64_t bytes = 0;
  for (auto* split : {&train, &test}) {
    if (split->forms < 1 || split->groups > INT32_MAX / split->forms) {
      fail("[dataset] {} puzzles in {} forms each are too many", split->groups, split->forms);
    }
    auto examples = split->groups * split->forms;
    bytes += set_bytes(examples, examples, cells, split->as_int64 ? 8 : 1);
  }
  StagedFolder staged(output, bytes);
  write_split(staged.path() / "train", cells, vocab_size, train, progress);
  write_split(staged.path() / "test", cells, vocab_size, test, progress);
  write_identifiers(staged.path(), {"<blank>"});
  staged.commit();
}

}  // namespace trm
