#include "trm/checkpoint/source_file.h"

#include <cstring>

#include "trm/checkpoint/diagnosis.h"
#include "trm/checkpoint/shards.h"
#include "trm/io/text.h"

namespace trm {

namespace fs = std::filesystem;

SourceFile open_source(const Source& source, const SourceOptions& options) {
  std::string head(std::min<uint64_t>(source->size(), 512), '\0');
  source->read(0, head.data(), head.size());
  std::string_view view(head);
  if (head.empty())
    fail("[checkpoint] the file is empty (0 bytes): the download or copy failed; get it again");
  // torch decides by these four bytes alone; searching for an end record would misread legacy
  // files.
  if (head.starts_with("PK\3\4")) {
    // An npz is a zip whose first record is an array.
    size_t name_size =
        head.size() > 30 ? static_cast<uint8_t>(head[26]) | static_cast<uint8_t>(head[27]) << 8 : 0;
    bool npz = head.size() >= 30 + name_size && view.substr(30, name_size).ends_with(".npy");
    return npz ? read_npz(source, options) : read_torch_zip(source, options);
  }
  if (head.starts_with("PK\5\6")) return read_npz(source, options);  // numpy.savez of nothing
  if (head.starts_with("\x93NUMPY")) return read_npy_file(source, options);
  if (head.size() >= 262 && view.substr(257, 5) == "ustar") return read_torch_tar(source, options);
  uint64_t length = 0;  // of a safetensors header; 0x0280 looks like the start of a pickle
  memcpy(&length, head.data(), std::min<size_t>(8, head.size()));
  if (head.size() > 9 && head[8] == '{' && length < (uint64_t{1} << 40))
    return read_safetensors(source, options);
  bool magic_as_text = head.starts_with("L119547037146038801333356L");  // pickle protocol 0 and 1
  bool pickle = head.size() > 1 && head[0] == '\x80' && head[1] >= 2 && head[1] <= 5;
  if (pickle || magic_as_text) return read_torch_legacy(source, options);
  fail("[checkpoint] {}", diagnose(head, source->size()));
}

namespace {

/// A folder is read when it is a sharded model's; else the error says what is in it.
SourceFile open_folder(const fs::path& folder, const SourceOptions& options) {
  fs::path index = find_index(folder);
  if (!index.empty()) return read_shards(index, options);
  std::error_code error;
  for (const char* name : {"model.safetensors", "pytorch_model.bin", "pytorch_model.bin.index.json",
                           "saved_model.pb", "data.pkl"}) {
    if (!fs::exists(folder / name, error)) continue;
    std::string_view what(name);
    if (what == "saved_model.pb")
      fail("[checkpoint] a folder of a TensorFlow model, not a PyTorch checkpoint");
    if (what == "data.pkl")
      fail("[checkpoint] an unpacked PyTorch archive: give the file it was unpacked from");
    if (what.ends_with(".json"))
      fail(
          "[checkpoint] a folder of a model in several .bin files: convert each of them (trm "
          "convert {}/*.bin --out-dir D)",
          printable(folder.string()));
    fail("[checkpoint] a folder; give the file in it: {}", printable((folder / name).string()));
  }
  fail("[checkpoint] a folder without {}; give a file, or several with --out-dir",
       "*.safetensors.index.json");
}

}  // namespace

SourceFile open_source(const fs::path& path, const SourceOptions& options) {
  std::error_code error;
  bool folder = fs::is_directory(path, error);
  bool index = path.string().ends_with(".safetensors.index.json");
  Source source = folder || index ? nullptr : open_file(path);
  try {
    return folder  ? open_folder(path, options)
           : index ? read_shards(path, options)
                   : open_source(source, options);
  } catch (const std::runtime_error& e) {
    fail("{}: {}", printable(path.string()), e.what());
  }
}

}  // namespace trm
