// Models over several safetensors files with an index, as Hugging Face lays them out.
#pragma once

#include "trm/checkpoint/output.h"
#include "trm/checkpoint/source_file.h"

namespace trm {

/// Writes model-00001-of-0000N.safetensors files of at most `shard_bytes` of tensors each (a larger
/// tensor alone) and then the index, named after `output`: out.safetensors ->
/// out-00001-of-00002.safetensors and out.safetensors.index.json. One shard is written as `output`
/// itself.
std::vector<std::filesystem::path> write_shards(const std::filesystem::path& output,
                                                const std::vector<OutTensor>& tensors,
                                                const std::map<std::string, std::string>& metadata,
                                                uint64_t shard_bytes, const WriteOptions& options);

/// Opens all shards that an index (*.safetensors.index.json) names. They must lie beside it.
SourceFile read_shards(const std::filesystem::path& index, const SourceOptions& options);

/// The index file of a folder, empty when it has none.
std::filesystem::path find_index(const std::filesystem::path& folder);

}  // namespace trm
