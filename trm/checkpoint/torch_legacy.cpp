// torch's formats before zip: five pickles and raw storages in a row, and before 0.1.10 a tar
// archive.
#include <algorithm>
#include <cstring>
#include <memory>
#include <unordered_map>

#include "trm/checkpoint/source_file.h"
#include "trm/io/text.h"

namespace trm {

namespace {

/// A position in a region that pickles and numbers are read from.
class Stream {
 public:
  Stream(Region region, const Limits& limits) : region_(std::move(region)), limits_(limits) {}

  PickleGraph pickle() {
    // How long a pickle is shows only at its end: try with little, then with more.
    for (uint64_t window = 1 << 16;; window *= 8) {
      uint64_t left = region_.size - at_, take = std::min({left, window, limits_.max_pickle_bytes});
      try {
        PickleGraph graph = read_pickle(region_.sub(at_, take).all(), limits_);
        at_ += graph.consumed();
        return graph;
      } catch (const PickleTruncated&) {
        if (take == left)
          fail("[torch] the file ends in the middle of a pickle: it is cut off; get it again");
        if (take == limits_.max_pickle_bytes)
          fail("[torch] a pickle of more than {} bytes (--max-pickle-bytes)",
               limits_.max_pickle_bytes);
      }
    }
  }
  template <class T>
  T number() {
    T value;
    region_.read(at_, &value, sizeof value);
    at_ += sizeof value;
    return value;
  }
  uint64_t size_number(const char* what) {
    auto value = number<int64_t>();
    if (value < 0) fail("[torch] damaged: {} is {}", what, value);
    return static_cast<uint64_t>(value);
  }
  Region skip(uint64_t bytes, const char* what) {
    if (bytes > region_.size - at_)
      fail("[torch] {} needs {} bytes, but the file ends after {}: it is cut off; get it again",
           what, bytes, region_.size - at_);
    Region out = region_.sub(at_, bytes);
    at_ += bytes;
    return out;
  }
  uint64_t at() const { return at_; }

 private:
  Region region_;
  uint64_t at_ = 0;
  const Limits& limits_;
};

bool is_magic(const PickleGraph& graph) {
  constexpr std::string_view kBytes("\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 10);
  const Node& node = graph[graph.root()];
  return node.kind == Node::big_integer &&
         (node.text == kBytes || node.text == "119547037146038801333356");
}

struct Root {
  Region bytes;
  uint64_t count = 0;
};

/// ('storage', type, key, location, elements, view) -> the storage, or the part of it that the view
/// is.
class LegacyStorages {
 public:
  explicit LegacyStorages(std::shared_ptr<std::unordered_map<std::string, Root>> roots)
      : roots_(std::move(roots)) {}

  Storage operator()(const PickleGraph& graph, NodeId id) const {
    const auto& parts = graph.sequence(id, "a storage's id");
    if (parts.size() < 5 || graph.string(parts[0], "a storage's id") != "storage")
      fail("[torch] damaged: a storage's id has {} parts", parts.size());
    auto dtype = storage_dtype(graph.global(parts[1]));
    std::string key(graph.string(parts[2], "a storage's key"));
    auto found = roots_->find(key);
    if (found == roots_->end())
      fail("[torch] damaged: storage {} is not in the file", printable(key));
    const Root& root = found->second;
    Storage out{dtype.value_or(DType::uint8), !dtype, root.bytes, root.bytes.offset, false};
    if (static_cast<uint64_t>(graph.integer(parts[4], "a storage's size")) != root.count)
      fail("[torch] damaged: storage {} has {} elements, not what the pickle says", printable(key),
           root.count);
    if (parts.size() > 5 && !graph.is(parts[5], Node::none)) {
      const auto& view = graph.sequence(parts[5], "a storage's view");
      if (view.size() != 3) fail("[torch] damaged: a storage's view has {} parts", view.size());
      int64_t offset = graph.integer(view[1], "a view's offset"),
              count = graph.integer(view[2], "a view's size");
      if (offset < 0 || count < 0)
        fail("[torch] damaged: a storage's view from {} of {}", offset, count);
      uint64_t item = size_of(out.dtype);
      out.bytes =
          root.bytes.sub(checked_product(static_cast<uint64_t>(offset), item, "a view's offset"),
                         checked_product(static_cast<uint64_t>(count), item, "a view's size"));
    }
    return out;
  }

 private:
  std::shared_ptr<std::unordered_map<std::string, Root>> roots_;
};

/// Bytes of an element of each storage that the object names. One key read as two types must agree.
std::unordered_map<std::string, uint64_t> element_sizes(const PickleGraph& graph) {
  std::unordered_map<std::string, uint64_t> sizes;
  for (NodeId id = 0; id < graph.size(); ++id) {
    if (!graph.is(id, Node::persistent)) continue;
    NodeId what = graph[id].items[0];
    if (!graph.is(what, Node::tuple)) fail("[torch] damaged: a persistent id that is no tuple");
    const auto& parts = graph[what].items;
    if (parts.size() < 5 || graph.string(parts[0], "a persistent id") != "storage") continue;
    std::string key(graph.string(parts[2], "a storage's key"));
    uint64_t size = size_of(storage_dtype(graph.global(parts[1])).value_or(DType::uint8));
    auto [place, fresh] = sizes.emplace(key, size);
    if (!fresh && place->second != size)
      fail("[torch] damaged: storage {} is of two types", printable(key));
  }
  return sizes;
}

}  // namespace

SourceFile read_torch_legacy(const Source& source, const SourceOptions& options) {
  Stream stream(whole(source), options.limits);
  if (!is_magic(stream.pickle()))
    fail(
        "[torch] a Python pickle, but none that torch.save made: load it in Python and save its "
        "tensors with torch.save");
  PickleGraph protocol = stream.pickle();
  if (protocol.integer(protocol.root(), "the protocol number") != 1001)
    fail("[torch] legacy protocol {} is unknown (1001 is read)", protocol[protocol.root()].i);
  stream.pickle();  // type sizes of the machine that wrote it; the data are little-endian always
  PickleGraph graph = stream.pickle();
  refuse_attacks(graph);
  PickleGraph keys = stream.pickle();
  auto sizes = element_sizes(graph);
  auto roots = std::make_shared<std::unordered_map<std::string, Root>>();
  for (NodeId id : keys.sequence(keys.root(), "the list of storages")) {
    std::string key(keys.string(id, "a storage's key"));
    auto size = sizes.find(key);
    if (size == sizes.end()) fail("[torch] damaged: storage {} belongs to nothing", printable(key));
    Root root;
    root.count = stream.size_number("a storage's size");
    root.bytes =
        stream.skip(checked_product(root.count, size->second, "a storage's size"), "a storage");
    if (!roots->emplace(key, root).second)
      fail("[torch] damaged: storage {} is there twice", printable(key));
  }
  TorchObjects objects(graph, LegacyStorages(roots), options.limits);
  SourceFile file;
  file.format = "PyTorch legacy";
  file.bytes = source->size();
  file.weights = find_weights(objects, options.key);
  return file;
}

namespace {

/// Members of a tar archive by name. Only plain ones are taken; nothing is unpacked to disk.
std::unordered_map<std::string, Region> tar_members(const Source& source) {
  std::unordered_map<std::string, Region> members;
  uint64_t at = 0, size = source->size();
  char header[512];
  while (size - at >= sizeof header) {
    source->read(at, header, sizeof header);
    if (header[0] == '\0') break;
    std::string name(header, strnlen(header, 100));
    uint64_t bytes = 0;
    for (int i = 124; i < 136; ++i) {
      char c = header[i];
      if (c == ' ' || c == '\0') continue;
      if (c < '0' || c > '7' || bytes >> 60)
        fail("[tar] damaged: member {} has no size", printable(name));
      bytes = bytes * 8 + static_cast<uint64_t>(c - '0');
    }
    at += sizeof header;
    if (bytes > size - at)
      fail("[tar] member {} is cut off: the file is incomplete", printable(name));
    bool plain = header[156] == '0' || header[156] == '\0';
    if (plain && !members.emplace(name, Region{source, at, bytes}).second)
      fail("[tar] two members are named {}", printable(name));
    if (members.size() > 64) fail("[tar] not a PyTorch checkpoint: an archive of many files");
    uint64_t padded = (bytes + 511) / 512 * 512;
    if (padded > size - at) break;
    at += padded;
  }
  return members;
}

using Tensors = std::unordered_map<std::string, Tensor>;
using Storages = std::unordered_map<std::string, Storage>;

/// Keys are numbers (addresses of the program that wrote them), or texts in files other programs
/// wrote.
std::string key_of(const PickleGraph& graph, NodeId id) {
  if (graph.is(id, Node::integer)) return std::to_string(graph[id].i);
  if (graph.is(id, Node::big_integer)) return fmt::format("L{}", graph[id].text);
  return std::string(graph.string(id, "a key"));
}

Storages tar_storages(const Region& region, const Limits& limits) {
  Storages storages;
  Stream stream(region, limits);
  PickleGraph count = stream.pickle();
  for (int64_t i = 0, n = count.integer(count.root(), "the number of storages"); i < n; ++i) {
    PickleGraph item = stream.pickle();
    const auto& parts = item.sequence(item.root(), "a storage");
    if (parts.size() != 3) fail("[torch] damaged: a storage with {} parts", parts.size());
    auto dtype = storage_dtype(item.global(parts[2]));
    Storage storage;
    storage.dtype = dtype.value_or(DType::uint8);
    uint64_t elements = stream.size_number("a storage's size");
    storage.id = region.offset + stream.at();
    storage.bytes = stream.skip(
        checked_product(elements, size_of(storage.dtype), "a storage's size"), "a storage");
    if (!storages.emplace(key_of(item, parts[0]), storage).second)
      fail("[torch] damaged: a storage is there twice");
  }
  if (stream.at() == region.size) return storages;  // without a list of views
  PickleGraph views = stream.pickle();
  for (NodeId id : views.sequence(views.root(), "the list of views")) {
    const auto& view = views.sequence(id, "a view");
    if (view.size() != 4) fail("[torch] damaged: a view with {} parts", view.size());
    auto root = storages.find(key_of(views, view[1]));
    int64_t offset = views.integer(view[2], "a view's offset"),
            elements = views.integer(view[3], "a view's size");
    if (root == storages.end() || offset < 0 || elements < 0)
      fail("[torch] damaged: a view of nothing");
    Storage storage = root->second;
    uint64_t item = size_of(storage.dtype);
    storage.bytes =
        storage.bytes.sub(checked_product(static_cast<uint64_t>(offset), item, "a view's offset"),
                          checked_product(static_cast<uint64_t>(elements), item, "a view's size"));
    storages[key_of(views, view[0])] = storage;
  }
  return storages;
}

Tensors tar_tensors(const Region& region, const Storages& storages, const Limits& limits) {
  Tensors tensors;
  Stream stream(region, limits);
  PickleGraph count = stream.pickle();
  for (int64_t i = 0, n = count.integer(count.root(), "the number of tensors"); i < n; ++i) {
    PickleGraph item = stream.pickle();
    const auto& parts = item.sequence(item.root(), "a tensor");
    if (parts.size() != 3) fail("[torch] damaged: a tensor with {} parts", parts.size());
    auto rank = stream.number<int32_t>();
    stream.number<int32_t>();  // padding
    if (rank < 0 || static_cast<uint64_t>(rank) > limits.max_rank)
      fail("[torch] a tensor of {} dimensions (--max-rank {})", rank, limits.max_rank);
    Tensor t;
    for (int32_t d = 0; d < rank; ++d) t.shape.push_back(stream.size_number("a tensor's shape"));
    for (int32_t d = 0; d < rank; ++d)
      t.strides.push_back(stream.size_number("a tensor's strides"));
    t.offset = stream.size_number("a tensor's offset");
    if (rank == 0) {  // torch 0.1 had no scalars: no dimensions meant no elements
      t.shape = {0};
      t.strides = {1};
    } else if (auto storage = item.is(parts[1], Node::none) ? storages.end()
                                                            : storages.find(key_of(item, parts[1]));
               storage != storages.end()) {
      t.dtype = storage->second.dtype;
      t.storage = storage->second.bytes;
      t.storage_id = storage->second.id;
    } else {
      fail("[torch] damaged: a tensor without a storage");
    }
    check_tensor(t, limits);
    tensors[key_of(item, parts[0])] = std::move(t);
  }
  return tensors;
}

}  // namespace

SourceFile read_torch_tar(const Source& source, const SourceOptions& options) {
  auto members = tar_members(source);
  for (const char* name : {"storages", "pickle"})
    if (!members.contains(name))
      fail(
          "[tar] not a PyTorch checkpoint: the archive has no member '{}'; unpack it and convert "
          "what is in it",
          name);
  auto storages = std::make_shared<Storages>(tar_storages(members["storages"], options.limits));
  auto tensors = std::make_shared<Tensors>();
  if (members.contains("tensors"))
    *tensors = tar_tensors(members["tensors"], *storages, options.limits);
  Stream stream(members["pickle"], options.limits);
  PickleGraph graph = stream.pickle();
  refuse_attacks(graph);
  auto find_tensor = [tensors](const PickleGraph& g, NodeId id) -> std::optional<Tensor> {
    if (!g.is(id, Node::integer) && !g.is(id, Node::big_integer))
      return {};  // a module's source code, not needed
    auto found = tensors->find(key_of(g, id));
    if (found == tensors->end()) return {};
    return found->second;
  };
  // Files other programs wrote have no list of tensors: the pickle holds them, as in later formats.
  auto find_storage = [storages](const PickleGraph& g, NodeId id) -> Storage {
    const auto& parts = g.sequence(id, "a storage's id");
    if (parts.size() < 5) fail("[torch] damaged: a storage's id has {} parts", parts.size());
    auto found = storages->find(key_of(g, parts[2]));
    if (found == storages->end())
      fail("[torch] damaged: storage {} is not in the file", printable(key_of(g, parts[2])));
    return found->second;
  };
  TorchObjects objects(graph, find_storage, options.limits, find_tensor);
  SourceFile file;
  file.format = "PyTorch tar";
  file.bytes = source->size();
  file.weights = find_weights(objects, options.key);
  return file;
}

}  // namespace trm
