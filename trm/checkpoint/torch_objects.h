// What torch's pickles mean: which nodes are tensors, and where their storages lie. Functions named
// in a file select a case here or stay opaque; none is called.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "trm/checkpoint/pickle.h"
#include "trm/checkpoint/tensor.h"

namespace trm {

/// A storage as a pickle names it.
struct Storage {
  DType dtype = DType::uint8;
  bool untyped = false;  // dtype comes from the tensor
  Region bytes;
  uint64_t id = 0;
  bool swapped = false;
};

/// Finds the storage behind a persistent id (the node of the id itself).
using StorageFinder = std::function<Storage(const PickleGraph&, NodeId)>;
/// Finds the tensor behind a persistent id, in files where ids name tensors (tar).
using TensorFinder = std::function<std::optional<Tensor>(const PickleGraph&, NodeId)>;

class TorchObjects {
 public:
  TorchObjects(const PickleGraph& graph, StorageFinder storages, const Limits& limits,
               TensorFinder tensors = {})
      : graph_(graph),
        find_storage_(std::move(storages)),
        find_tensor_(std::move(tensors)),
        limits_(limits) {}

  /// The tensors that node `id` stands for: one, or several for a nested tensor; nothing when it is
  /// no tensor. Throws std::runtime_error for a tensor that is malformed, has no data, or is of a
  /// type that cannot be converted.
  std::optional<std::vector<Tensor>> tensors(NodeId id) const;

  /// Whether tensors() would give or refuse something for the node. Nothing is read.
  bool is_tensor(NodeId id) const;

  const PickleGraph& graph() const { return graph_; }
  const Limits& limits() const { return limits_; }

 private:
  struct Call;
  std::optional<Call> unwrap(NodeId id) const;
  Tensor one_tensor(NodeId id, int depth) const;
  std::vector<Tensor> build(const Call& call, int depth) const;
  Tensor strided(const std::vector<NodeId>& args, std::optional<DType> dtype,
                 size_t metadata) const;
  Tensor quantized(const std::vector<NodeId>& args, int depth) const;
  Tensor sparse(const std::vector<NodeId>& args, int depth) const;
  std::vector<Tensor> nested(const std::vector<NodeId>& args, int depth) const;
  std::vector<uint64_t> sizes(NodeId id, const char* what) const;
  void apply_metadata(Tensor& tensor, NodeId id) const;

  const PickleGraph& graph_;
  StorageFinder find_storage_;
  TensorFinder find_tensor_;
  Limits limits_;
  mutable uint64_t dense_bytes_ = 0;  // of all sparse tensors made dense so far
};

/// The dtype behind a storage class's name ("torch FloatStorage"); untyped storages give no value.
std::optional<DType> storage_dtype(std::string_view global);

/// A NumPy array in the pickle (REDUCE of _reconstruct or _frombuffer), as a tensor in memory.
std::optional<Tensor> numpy_array(const PickleGraph& graph, NodeId id, const Limits& limits);
/// Whether the node is such an array.
bool is_numpy_array(const PickleGraph& graph, NodeId id);
/// Whether the node is a NumPy scalar.
bool is_numpy_scalar(const PickleGraph& graph, NodeId id);

/// Throws when the pickle would run a known attack's function; the message says nothing was run.
void refuse_attacks(const PickleGraph& graph);

}  // namespace trm
