// Options that commands reading checkpoint files share.
#pragma once

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "trm/checkpoint/limits.h"

namespace trm::cli {

/// Adds a flag for every limit, under "Limits" in the help.
inline void add_limit_flags(CLI::App& command, Limits& limits) {
  struct Flag {
    const char* name;
    uint64_t Limits::*value;
    const char* help;
  };
  static constexpr Flag kFlags[] = {
      {"--max-rank", &Limits::max_rank, "dimensions of a tensor"},
      {"--max-tensors", &Limits::max_tensors, "tensors in a file"},
      {"--max-tensor-bytes", &Limits::max_tensor_bytes, "bytes of one tensor as written"},
      {"--max-output-bytes", &Limits::max_output_bytes, "bytes of all tensors as written"},
      {"--max-expansion", &Limits::max_expansion,
       "bytes written per byte read, above 256 MiB of output"},
      {"--max-pickle-bytes", &Limits::max_pickle_bytes, "bytes of one pickle"},
      {"--max-pickle-objects", &Limits::max_pickle_objects, "objects of one pickle"},
      {"--max-walk", &Limits::max_walk, "entries visited in search of tensors"},
      {"--max-name-bytes", &Limits::max_name_bytes, "bytes of a tensor's name"},
      {"--max-zip-entries", &Limits::max_zip_entries, "records of a zip archive"},
      {"--max-header-bytes", &Limits::max_header_bytes, "bytes of a header or a zip directory"},
      {"--max-inflated-bytes", &Limits::max_inflated_bytes, "bytes of one deflated record"},
      {"--max-inflate-ratio", &Limits::max_inflate_ratio, "how often it may grow, above 1 MiB"},
      {"--max-dense-bytes", &Limits::max_dense_bytes, "bytes of sparse tensors made dense"},
  };
  for (const Flag& flag : kFlags)
    command.add_option(flag.name, limits.*flag.value, flag.help)
        ->capture_default_str()
        ->group("Limits");
}

/// Size as the program shows it: MB are 2^20 bytes.
inline std::string megabytes(uint64_t bytes) {
  return fmt::format("{:.2f} MB", static_cast<double>(bytes) / (1 << 20));
}

}  // namespace trm::cli
