// torch's zip format (torch >= 1.6) and TorchScript archives; npz is a zip too.
#include <charconv>
#include <memory>

#include "trm/checkpoint/npy.h"
#include "trm/checkpoint/source_file.h"
#include "trm/checkpoint/zip_reader.h"
#include "trm/io/text.h"

namespace trm {

namespace {

std::string small_record(const ZipReader& zip, const ZipEntry& entry) {
  if (entry.size > 256)
    fail("[torch] damaged: record {} has {} bytes", printable(entry.name), entry.size);
  auto bytes = zip.open(entry).all();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// `version` or `.data/version` must be a number of at most 10: later ones may mean something else.
void check_version(const ZipReader& zip, const std::string& prefix) {
  const ZipEntry* entry = zip.find(prefix + "version");
  if (!entry) entry = zip.find(prefix + ".data/version");
  if (!entry) fail("[torch] damaged: the archive has no version record");
  std::string text = small_record(zip, *entry);
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r' || text.back() == ' '))
    text.pop_back();
  unsigned version = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), version);
  if (error != std::errc{} || end != text.data() + text.size())
    fail("[torch] damaged: version '{}' is no number", printable(text));
  if (version > 10)
    fail("[torch] file version {} is newer than the 10 this program knows", version);
}

bool big_endian(const ZipReader& zip, const std::string& prefix) {
  const ZipEntry* entry = zip.find(prefix + "byteorder");
  if (!entry) return false;
  std::string order = small_record(zip, *entry);
  if (order != "little" && order != "big")
    fail("[torch] byte order '{}' is unknown", printable(order));
  return order == "big";
}

/// ('storage', type, key, location, elements) -> the record data/<key>.
class ZipStorages {
 public:
  ZipStorages(std::shared_ptr<ZipReader> zip, std::string prefix, bool swapped)
      : zip_(std::move(zip)), prefix_(std::move(prefix)), swapped_(swapped) {}

  Storage operator()(const PickleGraph& graph, NodeId id) const {
    const auto& parts = graph.sequence(id, "a storage's id");
    if (parts.size() < 5 || graph.string(parts[0], "a storage's id") != "storage")
      fail("[torch] damaged: a storage's id has {} parts", parts.size());
    std::string_view type = graph.global(parts[1]);
    if (type.empty()) fail("[torch] damaged: a storage without a type");
    auto dtype = storage_dtype(type);
    std::string key(graph.string(parts[2], "a storage's key"));
    const ZipEntry* entry = zip_->find(prefix_ + key);
    if (!entry)
      fail(
          "[torch] storage {} is not in the archive: it was saved without its data (skip_data) or "
          "is damaged",
          printable(key));
    int64_t count = graph.integer(parts[4], "a storage's size");
    Storage storage{dtype.value_or(DType::uint8), !dtype, {}, entry->offset, swapped_};
    uint64_t bytes =
        checked_product(static_cast<uint64_t>(count), size_of(storage.dtype), "a storage's size");
    if (count < 0 || bytes != entry->size)
      fail("[torch] storage {} has {} bytes, but the pickle asks for {} of {}: the file is damaged",
           printable(key), entry->size, count, name_of(storage.dtype));
    storage.bytes = zip_->open(*entry);
    return storage;
  }

 private:
  std::shared_ptr<ZipReader> zip_;
  std::string prefix_;
  bool swapped_;
};

}  // namespace

SourceFile read_torch_zip(const Source& source, const SourceOptions& options) {
  auto zip = std::make_shared<ZipReader>(source, options.limits, true);
  if (zip->entries().empty()) fail("[torch] the archive is empty");
  const std::string& first = zip->entries()[0].name;
  std::string prefix = first.substr(0, first.find('/') + 1);
  const ZipEntry* data = zip->find(prefix + "data.pkl");
  if (!data && (zip->find("model.weights.h5") || zip->find("keras_metadata.pb")))
    fail(
        "[torch] a Keras model, not a PyTorch checkpoint: export its weights from Keras "
        "(numpy.savez) and convert that");
  if (!data)
    fail("[torch] a zip archive without {}data.pkl: not a PyTorch checkpoint (it starts with {})",
         printable(prefix), printable(first));
  check_version(*zip, prefix);
  if (data->size > options.limits.max_pickle_bytes)
    fail("[torch] data.pkl has {} bytes, more than {} (--max-pickle-bytes)", data->size,
         options.limits.max_pickle_bytes);
  PickleGraph graph;
  try {
    graph = read_pickle(zip->open(*data).all(), options.limits);
  } catch (const PickleTruncated&) {
    fail("[torch] data.pkl ends in the middle: the file is damaged");
  }
  refuse_attacks(graph);
  TorchObjects objects(graph, ZipStorages(zip, prefix + "data/", big_endian(*zip, prefix)),
                       options.limits);
  SourceFile file;
  file.format = zip->find(prefix + "constants.pkl") ? "TorchScript" : "PyTorch zip";
  file.bytes = source->size();
  file.weights = find_weights(objects, options.key);
  return file;
}

SourceFile read_npz(const Source& source, const SourceOptions& options) {
  ZipReader zip(source, options.limits, false);
  SourceFile file;
  file.format = "npz";
  file.bytes = source->size();
  for (const ZipEntry& entry : zip.entries()) {
    std::string name = entry.name;
    if (!name.ends_with(".npy")) {
      ++file.weights.others_count;
      file.weights.others.push_back({name, "not an array"});
      continue;
    }
    name.resize(name.size() - 4);
    try {
      Tensor tensor = read_npy(zip.open(entry), options.limits);
      tensor.storage_id = entry.offset;
      file.weights.tensors.push_back({std::move(name), std::move(tensor)});
    } catch (const std::runtime_error& e) {
      fail("{} (array {})", e.what(), printable(name));
    }
  }
  return file;
}

SourceFile read_npy_file(const Source& source, const SourceOptions& options) {
  SourceFile file;
  file.format = "npy";
  file.bytes = source->size();
  file.weights.tensors.push_back({"array", read_npy(whole(source), options.limits)});
  return file;
}

}  // namespace trm
