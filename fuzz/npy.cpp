// .npz archives and .npy arrays.
#include "fuzz/common.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trm;
  return fuzz::refusals_are_fine([&] {
    Source source = fuzz::source_of(data, size);
    bool zip = size > 1 && data[0] == 'P' && data[1] == 'K';
    fuzz::read_all(zip ? read_npz(source, fuzz::options())
                       : read_npy_file(source, fuzz::options()));
  });
}
