#include "trm/data/arc.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "trm/io/text.h"

namespace trm {

Grid parse_arc_grid(const nlohmann::ordered_json& rows, const std::string& where) {
  if (!rows.is_array() || rows.empty() || rows.size() > kArcSide) {
    fail("{}: a grid needs 1 to {} rows", where, kArcSide);
  }
  Grid grid;
  grid.rows = static_cast<int>(rows.size());
  for (auto& row : rows) {
    if (!row.is_array() || row.empty() || row.size() > kArcSide) {
      fail("{}: a row needs 1 to {} cells", where, kArcSide);
    }
    if (grid.columns == 0) grid.columns = static_cast<int>(row.size());
    if (row.size() != static_cast<size_t>(grid.columns))
      fail("{}: rows of different length", where);
    for (auto& cell : row) {
      if (!cell.is_number_unsigned() || cell.get<uint64_t>() > 9) {
        fail("{}: a cell is not a colour from 0 to 9", where);
      }
      grid.cells.push_back(cell.get<uint8_t>());
    }
  }
  return grid;
}

ArcTask parse_arc_task(const std::string& name, const nlohmann::ordered_json& json) {
  std::string where = fmt::format("[arc] task {}", printable(name));
  if (name.empty() || name.find(kArcSeparator) != std::string::npos) {
    fail("{}: a task's name may not be empty or hold |||", where);
  }
  if (!json.is_object() || json.size() != 2 || !json.contains("train") || !json.contains("test")) {
    fail("{}: an object with \"train\" and \"test\" is expected", where);
  }
  ArcTask task;
  task.name = name;
  task.test_first = json.begin().key() == "test";
  for (auto& [kind, examples] : json.items()) {
    if (!examples.is_array() || examples.empty()) fail("{}: \"{}\" lists no pairs", where, kind);
    for (auto& example : examples) {
      if (!example.is_object() || !example.contains("input"))
        fail("{}: a pair lacks \"input\"", where);
      ArcPair pair{parse_arc_grid(example["input"], where), Grid{1, 1, {0}}};
      if (example.contains("output")) {
        pair.output = parse_arc_grid(example["output"], where);
      } else if (kind == "train") {
        fail("{}: a training pair lacks \"output\"", where);
      }
      (kind == "train" ? task.train : task.test).push_back(std::move(pair));
    }
  }
  return task;
}

ArcAugmentation ArcAugmentation::draw(NumpyMt19937& rng) {
  ArcAugmentation a;
  a.transform = static_cast<uint8_t>(rng.randint(0, 8));
  rng.permutation_into(a.colours.data() + 1, 9, 1);
  return a;
}

Grid ArcAugmentation::operator()(const Grid& grid) const {
  Grid out = dihedral(grid, transform);
  for (auto& cell : out.cells) cell = colours[cell];
  return out;
}

Grid ArcAugmentation::inverse(const Grid& grid) const {
  std::array<uint8_t, 10> back{};
  for (uint8_t c = 0; c < 10; ++c) back[colours[c]] = c;
  Grid out = dihedral(grid, inverse_dihedral(transform));
  for (auto& cell : out.cells) cell = back[cell];
  return out;
}

std::string ArcAugmentation::suffix() const {
  std::string text = fmt::format("|||t{}|||", transform);
  for (uint8_t c : colours) text += static_cast<char>('0' + c);
  return text;
}

ArcName parse_arc_name(std::string_view identifier) {
  ArcName name;
  size_t first = identifier.find(kArcSeparator);
  name.task = identifier.substr(0, first);
  if (first == std::string_view::npos) return name;
  auto suffix = identifier.substr(first);  // |||tK|||dddddddddd
  auto& a = name.augmentation;
  bool good = suffix.size() == 18 && suffix[3] == 't' && suffix[4] >= '0' && suffix[4] <= '7' &&
              suffix.substr(5, 3) == kArcSeparator;
  unsigned seen = 0;
  for (size_t i = 0; good && i < 10; ++i) {
    char c = suffix[8 + i];
    good = c >= '0' && c <= '9';
    a.colours[i] = static_cast<uint8_t>(c - '0');
    seen |= 1u << (good ? a.colours[i] : 0);
  }
  if (!good || seen != 0x3ff) {
    fail("[arc] '{}' is no identifier of the form name|||tK|||permutation", printable(identifier));
  }
  a.transform = static_cast<uint8_t>(suffix[4] - '0');
  return name;
}

std::vector<int32_t> arc_tokens(const Grid& grid) {
  std::vector<uint8_t> bytes(kArcCells, kArcPad);
  if (!grid.cells.empty()) {
    write_arc_tokens(grid, dihedral_source(grid.rows, grid.columns, 0), grid.rows, grid.columns,
                     ArcAugmentation{}.colours, 0, 0, bytes.data());
  }
  return {bytes.begin(), bytes.end()};
}

void write_arc_tokens(const Grid& grid, const std::vector<int32_t>& source, int rows, int columns,
                      const std::array<uint8_t, 10>& colours, int row, int column, uint8_t* out) {
  std::memset(out, kArcPad, kArcCells);
  const int32_t* from = source.data();
  for (int r = 0; r < rows; ++r) {
    uint8_t* line = out + (row + r) * kArcSide + column;
    for (int c = 0; c < columns; ++c) {
      line[c] =
          static_cast<uint8_t>(colours[grid.cells[static_cast<size_t>(*from++)]] + kArcFirstColour);
    }
    if (column + columns < kArcSide) line[columns] = kArcEnd;
  }
  if (row + rows < kArcSide) {
    std::memset(out + (row + rows) * kArcSide + column, kArcEnd, static_cast<size_t>(columns));
  }
}

}  // namespace trm
