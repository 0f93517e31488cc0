// The pickle machine and what the graph means, over one storage of 64 bytes for every key.
// Mutations know the opcodes: most random bytes would stop at the first one.
#include <random>

#include "fuzz/common.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace {

std::string random_opcode(std::mt19937& random) {
  auto byte = [&](unsigned n = 256) { return static_cast<char>(random() % n); };
  auto text = [](std::string s) {
    return "X" + std::string{static_cast<char>(s.size()), 0, 0, 0} + s;
  };
  static const char* const kWords[] = {
      "storage",  "0",        "cpu",        "w",     "_parameters",
      "_modules", "_buffers", "state_dict", "model", "torch.sparse_coo"};
  static const char* const kGlobals[] = {"torch._utils\n_rebuild_tensor_v2",
                                         "torch._utils\n_rebuild_tensor_v3",
                                         "torch._utils\n_rebuild_tensor",
                                         "torch._utils\n_rebuild_parameter",
                                         "torch._utils\n_rebuild_qtensor",
                                         "torch._utils\n_rebuild_sparse_tensor",
                                         "torch._utils\n_rebuild_nested_tensor",
                                         "torch._tensor\n_rebuild_from_type_v2",
                                         "torch\nFloatStorage",
                                         "torch\nLongStorage",
                                         "torch\nQInt8Storage",
                                         "torch.storage\nUntypedStorage",
                                         "torch\nuint16",
                                         "torch\nper_channel_affine",
                                         "torch\nper_tensor_affine",
                                         "collections\nOrderedDict",
                                         "torch\nSize",
                                         "numpy.core.multiarray\n_reconstruct",
                                         "numpy.core.numeric\n_frombuffer",
                                         "numpy\ndtype",
                                         "_codecs\nencode",
                                         "torch.nn.parameter\nParameter"};
  static const std::string kPlain(
      "(.012NRabdeou]})ltsQ\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x92\x93\x94");
  switch (random() % 8) {
    case 0:
      return text(kWords[random() % std::size(kWords)]);
    case 1:
      return std::string("c") + kGlobals[random() % std::size(kGlobals)] + "\n";
    case 2:
      return std::string("K") + byte(20);
    case 3: {
      std::string long_integer("\x8a\x08", 2);
      for (int i = 0; i < 8; ++i) long_integer += random() % 3 ? '\0' : byte();
      return long_integer;
    }
    case 4:
      return std::string(random() % 2 ? "q" : "h") + byte(16);
    case 5:
      return std::string("C") + '\4' + "abcd";
    case 6: {
      std::string tensor = "ctorch._utils\n_rebuild_tensor_v2\n((";
      tensor += text("storage") + "ctorch\nFloatStorage\n" + text("0") + text("cpu") + "K\x10tQK";
      tensor += byte(4);
      tensor += "(K";
      tensor += byte(5);
      tensor += "t(K";
      tensor += byte(5);
      return tensor + "t\x89NtR";
    }
    default:
      return {kPlain[random() % kPlain.size()]};
  }
}

}  // namespace

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  std::mt19937 random(seed);
  if (random() % 4 == 0) return LLVMFuzzerMutate(data, size, max_size);
  std::string bytes(reinterpret_cast<char*>(data), size);
  for (unsigned i = 0, n = 1 + random() % 4; i < n; ++i) {
    size_t at = bytes.empty() ? 0 : random() % bytes.size();
    size_t length = std::min<size_t>(random() % 16, bytes.size() - at);
    switch (random() % 3) {
      case 0:
        bytes.insert(at, random_opcode(random));
        break;
      case 1:
        bytes.replace(at, length, random_opcode(random));
        break;
      default:
        bytes.insert(at, bytes.substr(at, length));
    }
  }
  size_t kept = std::min(bytes.size(), max_size);
  memcpy(data, bytes.data(), kept);
  return kept;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trm;
  return fuzz::refusals_are_fine([&] {
    SourceOptions options = fuzz::options();
    Source pickle = fuzz::source_of(data, size);
    PickleGraph graph = read_pickle(whole(pickle).all(), options.limits);
    refuse_attacks(graph);
    std::vector<std::byte> numbers(64);
    for (size_t i = 0; i < 8; ++i) numbers[8 * i] = static_cast<std::byte>(i);
    Source storage_bytes = memory_source(numbers);
    auto storages = [&](const PickleGraph& g, NodeId id) {
      const auto& parts = g.sequence(id, "id");
      if (parts.size() < 2) throw std::runtime_error("too few parts");
      auto dtype = storage_dtype(g.global(parts[1]));
      return Storage{dtype.value_or(DType::uint8), !dtype, whole(storage_bytes), 1,
                     parts.size() > 5};
    };
    SourceFile file;
    file.weights = find_weights(TorchObjects(graph, storages, options.limits), "");
    fuzz::read_all(file);
  });
}
