// What a file may ask for. Real checkpoints stay far below; each has a flag of its name
// (`trm convert --max-rank 8`), and an error that names it.
#pragma once

#include <cstdint>

namespace trm {

struct Limits {
  uint64_t max_rank = 64;                         // dimensions of a tensor
  uint64_t max_tensors = 1'000'000;               // tensors in a file
  uint64_t max_tensor_bytes = uint64_t{1} << 40;  // one tensor as written (expand can ask for more)
  uint64_t max_output_bytes = uint64_t{1} << 42;  // all tensors as written
  uint64_t max_expansion = 16;           // bytes written per byte of input, above 256 MiB of output
  uint64_t max_pickle_bytes = 64 << 20;  // one pickle stream
  uint64_t max_pickle_objects = 1'500'000;          // objects, stack entries and memo slots
  uint64_t max_walk = 4'000'000;                    // entries visited when looking for tensors
  uint64_t max_name_bytes = 4096;                   // a tensor's full name
  uint64_t max_zip_entries = 200'000;               // records of a zip archive
  uint64_t max_header_bytes = 100 << 20;            // zip directory, safetensors or npy header
  uint64_t max_inflated_bytes = uint64_t{1} << 31;  // one deflated record
  uint64_t max_inflate_ratio = 200;                 // of it, above 1 MiB
  uint64_t max_dense_bytes = uint64_t{1} << 28;     // a sparse tensor made dense
};

}  // namespace trm
