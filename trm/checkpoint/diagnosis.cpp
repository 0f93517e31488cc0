#include "trm/checkpoint/diagnosis.h"

#include <algorithm>
#include <cctype>
#include <cstdint>

#include "trm/io/text.h"

namespace trm {

namespace {

std::string lower_start(std::string_view head) {
  size_t begin = head.starts_with("\xef\xbb\xbf") ? 3 : 0;
  while (begin < head.size() && std::isspace(static_cast<unsigned char>(head[begin]))) ++begin;
  std::string out(head.substr(begin, 64));
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

/// ONNX and TensorFlow models are protobufs that begin with a version (field 1): ONNX's is 3 or
/// more, then come its producer, domain or graph; TensorFlow's is 1, then comes its graph.
bool is_onnx(std::string_view head) {
  return head.size() > 4 && head[0] == 8 && head[1] >= 3 && head[1] < 32 &&
         (head[2] == 0x12 || head[2] == 0x1a || head[2] == 0x3a || head[2] == 0x42);
}
bool is_tensorflow(std::string_view head) {
  using namespace std::string_view_literals;
  bool saved_model = head.starts_with("\x08\x01\x12");
  bool graph = head.starts_with("\x0a") && head.find("Placeholder") != head.npos;
  bool index =
      head.starts_with("\0\0"sv) && head.substr(0, 16).find("\x1a\x02\x08\x01") != head.npos;
  return saved_model || graph || index;
}

}  // namespace

std::string diagnose(std::string_view head, uint64_t size) {
  struct Kind {
    std::string_view magic;
    const char* what;
  };
  static constexpr Kind kKinds[] = {
      {"version https://git-lfs",
       "a git-LFS pointer, not the file itself: run `git lfs pull` and try again"},
      {"\x1f\x8b", "gzip-compressed: unpack it first (`gunzip`, or `tar xzf` for a .tar.gz)"},
      {"BZh", "bzip2-compressed: unpack it first (`bunzip2`, or `tar xjf`)"},
      {"\xfd"
       "7zXZ",
       "xz-compressed: unpack it first (`unxz`, or `tar xJf`)"},
      {"\x28\xb5\x2f\xfd", "zstd-compressed: unpack it first (`unzstd`)"},
      {"7z\xbc\xaf\x27\x1c", "a 7-zip archive: unpack it first"},
      {"Rar!", "a RAR archive: unpack it first"},
      {"GGUF",
       "a GGUF model (llama.cpp), not a PyTorch checkpoint: convert the model it was made from"},
      {"\x89HDF",
       "an HDF5 file (Keras or TensorFlow), not a PyTorch checkpoint: convert it with Keras first"},
      {"TFL3", "a TensorFlow Lite model, not a PyTorch checkpoint"},
      {"\x7f"
       "ELF",
       "a program or library, not a checkpoint"},
      {"%PDF", "a PDF document, not a checkpoint"},
  };
  for (const Kind& kind : kKinds)
    if (head.starts_with(kind.magic)) return kind.what;
  if (head.size() > 8 && head.substr(4, 4) == "TFL3")
    return "a TensorFlow Lite model, not a PyTorch checkpoint";
  std::string start = lower_start(head);
  if (start.starts_with("<!doctype") || start.starts_with("<html") || start.starts_with("<head"))
    return "a web page, not the file: the download led to a page (a login, a viewer or an error); "
           "get the file's own address";
  if (start.starts_with("<?xml") || start.starts_with("<error"))
    return "an XML answer of a server, not the file: the download failed; read it and try again";
  if (start.starts_with("{") || start.starts_with("["))
    return "JSON text, not a checkpoint; for a sharded model give its folder or its "
           ".safetensors.index.json";
  if (is_onnx(head))
    return "an ONNX model, not a PyTorch checkpoint: convert the PyTorch model it was exported "
           "from";
  if (is_tensorflow(head))
    return "a TensorFlow model or checkpoint, not PyTorch's: export its weights from TensorFlow "
           "(numpy.savez) and convert that";
  if (head.find_first_not_of('\0') == head.npos)
    return fmt::format(
        "{} bytes that begin with zeros: the download or copy was not finished; get it again",
        size);
  bool text = std::all_of(head.begin(), head.end(), [](unsigned char c) {
    return c >= 0x20 ? c != 0x7f : c == '\n' || c == '\r' || c == '\t';
  });
  if (text)
    return fmt::format("text, not a checkpoint; it begins '{}'", printable(head.substr(0, 40)));
  return "not a checkpoint: neither PyTorch (zip, legacy, tar, TorchScript), safetensors, npz nor "
         "npy";
}

}  // namespace trm
