// Maze data sets: the reference's builder, from CSV files or our own generator.
#pragma once

#include <filesystem>
#include <optional>
#include <vector>

#include "trm/data/dataset_writer.h"
#include "trm/data/maze.h"

namespace trm {

/// Reads `source,question,answer,rating` with mazes of one size, at most `limit` rows. Throws
/// std::runtime_error that names the file and line; the answer must be the question with some open
/// cells marked.
std::vector<MazePair> read_maze_csv(const std::filesystem::path& file,
                                    std::optional<int64_t> limit = std::nullopt);

/// Whether the first question of a CSV file holds a maze's characters. Throws std::runtime_error.
bool is_maze_csv(const std::filesystem::path& file);

struct GeneratedMazes {
  std::vector<MazePair> train, test;
};
/// `train` + `test` distinct mazes of the stream `seed`, in parallel, the same for any number of
/// threads.
GeneratedMazes generate_mazes(int side, int min_length, int64_t train, int64_t test, uint64_t seed,
                              const Progress& progress = {});

struct MazeDatasetOptions {
  std::optional<int64_t> subsample_size = {};  // training mazes taken at random
  bool aug = false;                            // the 8 symmetries of each training maze
  uint32_t seed = 0;                           // np.random.seed before the training split
};

void write_maze_dataset(const std::filesystem::path& output, std::vector<MazePair> train,
                        const std::vector<MazePair>& test, const MazeDatasetOptions& options,
                        const Progress& progress = {});

}  // namespace trm
