// A whole conversion of any file to .npz, .safetensors and .pt, each verified: what is written must
// be right.
#include "trm/checkpoint/convert.h"

#include <filesystem>

#include <unistd.h>

#include "fuzz/common.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trm;
  static const std::string kBase =
      (std::filesystem::exists("/dev/shm") ? "/dev/shm/trm-fuzz-" : "/tmp/trm-fuzz-") +
      std::to_string(getpid());
  if (size < 1) return 0;
  ConvertOptions options;
  options.source = fuzz::options();
  options.write.threads = 1;
  options.dtypes.allow_overflow = true;
  options.format = static_cast<OutputFormat>(data[size - 1] % 3);
  std::string input = kBase + "-in", output = kBase + "-out";
  write_file_atomically(input, std::string(reinterpret_cast<const char*>(data), size));
  fuzz::refusals_are_fine([&] {
    write_conversion(plan_conversion(input, options), output, options);
    if (!verify_conversion(input, output, options).differences.empty()) abort();
  });
  unlink(input.c_str());
  unlink(output.c_str());
  return 0;
}
