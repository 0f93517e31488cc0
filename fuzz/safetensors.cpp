#include "fuzz/common.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trm;
  return fuzz::refusals_are_fine(
      [&] { fuzz::read_all(read_safetensors(fuzz::source_of(data, size), fuzz::options())); });
}
