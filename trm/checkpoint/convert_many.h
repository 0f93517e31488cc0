// Several inputs in one call, and the configuration file that goes along.
#pragma once

#include <filesystem>
#include <vector>

namespace trm {

struct Job {
  std::filesystem::path input, output;
};

/// One job a checkpoint: files as they are, the checkpoints in a folder, or a sharded model's
/// folder. Outputs keep their place relative to the deepest folder that holds all inputs. Throws
/// std::runtime_error when a folder holds no checkpoint or two inputs share an output.
std::vector<Job> plan_jobs(const std::vector<std::filesystem::path>& inputs,
                           const std::filesystem::path& out_dir, const char* extension);

/// Whether the file begins like a checkpoint that open_source() reads.
bool looks_like_checkpoint(const std::filesystem::path& path);

enum class CopyResult { copied, same, kept };

/// Copies `from` to `to`; a file there with other content is kept. At most 16 MiB.
CopyResult copy_file_atomically(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace trm
