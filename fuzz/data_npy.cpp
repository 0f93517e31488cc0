// .npy arrays as data sets hold them: the header, then every element in each width.
#include "fuzz/common.h"
#include "fuzz/memory_file.h"
#include "trm/data/npy.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trm;
  fuzz::refusals_are_fine([&] {
    auto h = parse_npy_header({reinterpret_cast<const char*>(data), size}, "x.npy");
    if (h.count() < 0 || h.data_offset > size) abort();
  });
  return fuzz::refusals_are_fine([&] {
    fuzz::MemoryFile file(data, size);
    NpyFile npy(file.path());
    auto wide = npy.read<int64_t>();
    fuzz::refusals_are_fine([&] {
      auto narrow = npy.read<uint8_t>();
      if (!std::equal(wide.begin(), wide.end(), narrow.begin())) abort();
    });
  });
}
