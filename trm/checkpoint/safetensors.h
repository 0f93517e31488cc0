#pragma once

#include <map>
#include <string>
#include <vector>

#include "trm/checkpoint/dtype.h"

namespace trm {

struct SafetensorsEntry {
  std::string name;
  DType dtype;
  std::vector<uint64_t> shape;
  uint64_t begin, end;  // in the data
};

/// Length and JSON header, padded so that the data start at a multiple of 64 bytes.
std::string safetensors_header(const std::vector<SafetensorsEntry>& entries,
                               const std::map<std::string, std::string>& metadata);

}  // namespace trm
