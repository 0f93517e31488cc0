// Files of data sets on the Hugging Face hub, downloaded once and kept.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "trm/data/dataset_writer.h"

namespace trm {

/// Where the hub is and where its files are kept, as Hugging Face's own tools decide it:
/// HF_ENDPOINT (https://huggingface.co), HF_HOME (~/.cache/huggingface), HF_TOKEN (none, or the
/// file `token` in HF_HOME).
struct HubOptions {
  std::string endpoint, token;
  std::filesystem::path cache;
  std::string revision = "main";
  bool offline = false;  // HF_HUB_OFFLINE=1: only what is in the cache
};
HubOptions hub_options_from_environment();

/// The path of `file` of the data set `repo` ("owner/name"): from the cache when it is there,
/// otherwise downloaded. An interrupted download goes on where it stopped; the size, and the
/// SHA-256 that the hub names for large files, are checked before the file takes its place. Throws
/// std::runtime_error that says what to do (no such repository, no access, offline, no disk space).
std::filesystem::path hub_dataset_file(const std::string& repo, const std::string& file,
                                       const HubOptions& options, const Progress& progress = {});

}  // namespace trm
