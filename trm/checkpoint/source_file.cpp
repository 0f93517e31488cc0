#include "trm/checkpoint/source_file.h"

#include <cstring>

#include "trm/io/text.h"

namespace trm {

SourceFile open_source(const Source& source, const SourceOptions& options) {
  std::string head(std::min<uint64_t>(source->size(), 512), '\0');
  source->read(0, head.data(), head.size());
  if (head.empty()) fail("[checkpoint] the file is empty (0 bytes)");
  if (head.starts_with("PK\3\4")) {
    // An npz is a zip whose first record is an array.
    size_t name_size =
        head.size() > 30 ? static_cast<uint8_t>(head[26]) | static_cast<uint8_t>(head[27]) << 8 : 0;
    bool npz = head.size() >= 30 + name_size &&
               std::string_view(head).substr(30, name_size).ends_with(".npy");
    return npz ? read_npz(source, options) : read_torch_zip(source, options);
  }
  if (head.starts_with("PK\5\6")) return read_npz(source, options);  // numpy.savez of nothing
  if (head.starts_with("\x93NUMPY")) return read_npy_file(source, options);
  uint64_t length = 0;
  memcpy(&length, head.data(), std::min<size_t>(8, head.size()));
  if (head.size() > 9 && head[8] == '{' && length < (uint64_t{1} << 40))
    return read_safetensors(source, options);
  fail("[checkpoint] not a checkpoint: neither PyTorch, safetensors, npz nor npy");
}

SourceFile open_source(const std::filesystem::path& path, const SourceOptions& options) {
  Source source = open_file(path);
  try {
    return open_source(source, options);
  } catch (const std::runtime_error& e) {
    fail("{}: {}", printable(path.string()), e.what());
  }
}

}  // namespace trm
