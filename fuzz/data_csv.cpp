// CSV files of Sudoku and mazes; what is accepted must be sound.
#include "fuzz/common.h"
#include "fuzz/memory_file.h"
#include "trm/data/maze_dataset.h"
#include "trm/data/sudoku_dataset.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trm;
  fuzz::MemoryFile file(data, size);
  fuzz::refusals_are_fine([&] {
    for (auto& row : read_sudoku_csv(file.path())) {
      if (!is_solved(row.pair.answer) || !keeps_givens(row.pair.question, row.pair.answer)) abort();
    }
  });
  return fuzz::refusals_are_fine([&] {
    for (auto& row : read_maze_csv(file.path())) {
      if (!maze_problem(row.question).empty()) abort();
      if (auto answer = solve_maze(row.question);
          answer && !is_shortest_path(row.question, *answer)) {
        abort();
      }
    }
  });
}
