#include "trm/checkpoint/torch_objects.h"

#include <algorithm>
#include <array>

#include "trm/checkpoint/sparse.h"
#include "trm/io/text.h"

namespace trm {

namespace {

/// The last part of "module name": the name.
std::string_view name_part(std::string_view global) { return global.substr(global.rfind(' ') + 1); }

/// Functions that make a tensor of their arguments.
bool is_rebuild(std::string_view function) {
  return function.starts_with("torch._utils _rebuild_") ||
         function.ends_with(" UninitializedParameter") ||
         function.ends_with(" UninitializedBuffer") || function == "torch.storage _load_from_bytes";
}

bool starts_with_torch(std::string_view global) {
  return global.starts_with("torch.") || global.starts_with("torch ");
}

}  // namespace

/// A call seen through the wrappers that do not change the data.
struct TorchObjects::Call {
  std::string_view function;  // "module name"
  NodeId arguments = 0;
};

std::optional<DType> storage_dtype(std::string_view global) {
  std::string_view name = name_part(global);
  if (name == "UntypedStorage" || name == "_UntypedStorage") return {};
  if (auto dtype = dtype_of_storage(name)) return dtype;
  fail("[torch] storages of type {} cannot be converted", printable(name));
}

std::optional<TorchObjects::Call> TorchObjects::unwrap(NodeId id) const {
  // Each turn goes one object deeper; the bound stops an object that wraps itself.
  for (int turn = 0; turn < 16; ++turn) {
    const Node& node = graph_[id];
    if (node.kind != Node::call) return {};
    Call call{graph_.global(node.items[0]), node.items[1]};
    if (call.function.empty() || graph_[call.arguments].kind != Node::tuple) return {};
    const auto& args = graph_[call.arguments].items;
    std::string_view name = name_part(call.function);
    if (call.function == "torch._utils _rebuild_parameter" ||
        call.function == "torch._utils _rebuild_parameter_with_state" ||
        call.function == "torch._utils _rebuild_device_tensor_from_cpu_tensor" ||
        (starts_with_torch(call.function) &&
         (name == "Parameter" || name == "Buffer" || name == "Variable"))) {
      if (args.empty()) return {};
      id = args[0];
      if (graph_.is(id, Node::persistent)) return Call{"trm persistent", id};
      continue;
    }
    if (call.function == "torch._tensor _rebuild_from_type_v2" ||
        call.function == "torch._tensor _rebuild_from_type" ||
        call.function == "torch.tensor _rebuild_from_type") {
      if (args.size() < 3) fail("[torch] damaged: a tensor of another type without its data");
      return Call{graph_.global(args[0]), args[2]};
    }
    return call;
  }
  fail("[torch] damaged: a tensor that wraps itself");
}

std::optional<std::vector<Tensor>> TorchObjects::tensors(NodeId id) const {
  if (graph_.is(id, Node::persistent)) {
    if (!find_tensor_) return {};
    auto tensor = find_tensor_(graph_, graph_[id].items[0]);
    if (!tensor) return {};
    return std::vector<Tensor>{*tensor};
  }
  if (graph_.is(id, Node::call)) {
    if (auto array = numpy_array(graph_, id, limits_)) return std::vector<Tensor>{*array};
  }
  auto call = unwrap(id);
  if (!call) return {};
  if (call->function == "trm persistent") return tensors(call->arguments);
  if (!is_rebuild(call->function)) return {};
  return build(*call, 0);
}

bool TorchObjects::is_tensor(NodeId id) const {
  if (graph_.is(id, Node::persistent))
    return find_tensor_ && find_tensor_(graph_, graph_[id].items[0]);
  if (!graph_.is(id, Node::call)) return false;
  if (is_numpy_array(graph_, id)) return true;
  auto call = unwrap(id);
  return call && (call->function == "trm persistent" || is_rebuild(call->function));
}

Tensor TorchObjects::one_tensor(NodeId id, int depth) const {
  if (depth > 4) fail("[torch] damaged: tensors made of tensors made of tensors");
  auto call = unwrap(id);
  if (!call) fail("[torch] damaged: a part of a tensor is no tensor");
  std::vector<Tensor> built = build(*call, depth + 1);
  if (built.size() != 1) fail("[torch] damaged: a part of a tensor is several tensors");
  return built[0];
}

std::vector<Tensor> TorchObjects::build(const Call& call, int depth) const {
  std::string_view name = name_part(call.function);
  if (name == "_rebuild_meta_tensor_no_storage" || name == "_rebuild_wrapper_subclass")
    fail(
        "[torch] the tensor has no data in the file ({}): save the model again from a device that "
        "holds it",
        name);
  if (name == "UninitializedParameter" || name == "UninitializedBuffer")
    fail("[torch] the tensor was never given a shape ({}): run the model once, then save it again",
         name);
  if (name == "_load_from_bytes")
    fail("[torch] the tensor was pickled without torch.save: save the model with torch.save");
  const auto& args = graph_.sequence(call.arguments, "a tensor's arguments");
  if (name == "_rebuild_tensor") return {strided(args, {}, 99)};
  if (name == "_rebuild_tensor_v2") return {strided(args, {}, 6)};
  if (name == "_rebuild_tensor_v3") {
    if (args.size() < 7) fail("[torch] damaged: a tensor with {} arguments", args.size());
    auto dtype = dtype_of_name(name_part(graph_.global(args[6])));
    if (!dtype)
      fail("[torch] type {} cannot be converted (packed types of less than a byte are not read)",
           printable(graph_.global(args[6])));
    return {strided(args, dtype, 7)};
  }
  if (name == "_rebuild_qtensor") return {quantized(args, depth)};
  if (name == "_rebuild_sparse_tensor") return {sparse(args, depth)};
  if (name == "_rebuild_nested_tensor") return nested(args, depth);
  if (name == "_rebuild_device_tensor_from_numpy") {
    if (args.empty()) fail("[torch] damaged: a tensor without data");
    auto array = numpy_array(graph_, args[0], limits_);
    if (!array) fail("[torch] damaged: a tensor whose NumPy array is none");
    return {*array};
  }
  fail("[torch] tensors made by {} cannot be converted", printable(call.function));
}

std::vector<uint64_t> TorchObjects::sizes(NodeId id, const char* what) const {
  const Node& node = graph_[id];
  if (node.kind == Node::call && graph_.global(node.items[0]) == "torch Size") {
    const auto& args = graph_.sequence(node.items[1], what);
    if (args.size() != 1) fail("[torch] damaged: {} is no tuple", what);
    id = args[0];
  }
  const auto& items = graph_.sequence(id, what);
  if (items.size() > limits_.max_rank)
    fail("[torch] {} dimensions are more than {} (--max-rank)", items.size(), limits_.max_rank);
  std::vector<uint64_t> out;
  for (NodeId item : items) {
    int64_t value = graph_.integer(item, what);
    if (value < 0) fail("[torch] damaged: {} holds {}", what, value);
    out.push_back(static_cast<uint64_t>(value));
  }
  return out;
}

Tensor TorchObjects::strided(const std::vector<NodeId>& args, std::optional<DType> dtype,
                             size_t metadata) const {
  if (args.size() < 4) fail("[torch] damaged: a tensor with {} arguments", args.size());
  // Some programs that write the tar format leave out the persistent id around the storage's tuple.
  bool plain = graph_.is(args[0], Node::tuple);
  if (!plain && !graph_.is(args[0], Node::persistent))
    fail("[torch] damaged: a tensor without a storage");
  Storage storage = find_storage_(graph_, plain ? args[0] : graph_[args[0]].items[0]);
  if (!dtype && storage.untyped) fail("[torch] damaged: a tensor without a dtype");
  int64_t offset = graph_.integer(args[1], "a tensor's offset");
  if (offset < 0) fail("[torch] damaged: a tensor's offset is {}", offset);
  Tensor t;
  t.dtype = dtype.value_or(storage.dtype);
  t.shape = sizes(args[2], "a tensor's shape");
  t.strides = sizes(args[3], "a tensor's strides");
  t.offset = static_cast<uint64_t>(offset);
  t.storage = storage.bytes;
  t.storage_id = storage.id;
  t.swapped = storage.swapped;
  if (args.size() > metadata) apply_metadata(t, args[metadata]);
  check_tensor(t, limits_);
  return t;
}

void TorchObjects::apply_metadata(Tensor& tensor, NodeId id) const {
  const Node& node = graph_[id];
  if (node.kind == Node::none) return;
  if (node.kind != Node::dict) fail("[torch] damaged: a tensor's metadata is no dict");
  for (size_t i = 0; i + 1 < node.items.size(); i += 2) {
    std::string_view key = graph_.string(node.items[i], "a metadata key");
    bool on = graph_.is(node.items[i + 1], Node::boolean) && graph_[node.items[i + 1]].i;
    if (key == "conj") {
      tensor.conjugate = on;
    } else if (key == "neg") {
      tensor.negative = on;
    } else {
      fail("[torch] tensor metadata '{}' is unknown", printable(key));
    }
  }
}

Tensor TorchObjects::quantized(const std::vector<NodeId>& args, int depth) const {
  if (args.size() < 5) fail("[torch] damaged: a quantized tensor with {} arguments", args.size());
  Tensor t = strided({args.begin(), args.begin() + 4}, {}, 99);
  if (!is_quantized(t.dtype)) fail("[torch] damaged: a quantized tensor of {}", name_of(t.dtype));
  const auto& params = graph_.sequence(args[4], "a quantizer");
  auto number = [&](NodeId id) {
    if (graph_.is(id, Node::real)) return graph_[id].f;
    return static_cast<double>(graph_.integer(id, "a quantizer's scale"));
  };
  if (params.empty()) fail("[torch] damaged: a quantizer without a scheme");
  std::string_view scheme = name_part(graph_.global(params[0]));
  auto q = std::make_shared<Quantization>();
  if (scheme == "per_tensor_affine" && params.size() >= 3) {
    q->scale = number(params[1]);
    q->zero_point = graph_.integer(params[2], "a quantizer's zero point");
  } else if ((scheme == "per_channel_affine" || scheme == "per_channel_affine_float_qparams") &&
             params.size() >= 4) {
    q->scales = std::make_shared<Tensor>(one_tensor(params[1], depth));
    q->zero_points = std::make_shared<Tensor>(one_tensor(params[2], depth));
    int64_t axis = graph_.integer(params[3], "a quantizer's axis");
    if (axis < 0 || static_cast<uint64_t>(axis) >= t.shape.size())
      fail("[torch] damaged: a quantizer's axis is {} of {}", axis, t.shape.size());
    q->axis = static_cast<uint64_t>(axis);
    for (const auto& part : {q->scales, q->zero_points})
      if (part->shape != std::vector<uint64_t>{t.shape[q->axis]})
        fail("[torch] damaged: a quantizer of shape {} for {} channels", shape_text(part->shape),
             t.shape[q->axis]);
  } else {
    fail("[torch] quantization scheme '{}' is unknown", printable(scheme));
  }
  t.quantization = q;
  return t;
}

Tensor TorchObjects::sparse(const std::vector<NodeId>& args, int depth) const {
  if (args.size() < 2) fail("[torch] damaged: a sparse tensor with {} arguments", args.size());
  // The layout is a call of _get_layout("torch.sparse_coo"), or that name as a global.
  std::string_view layout = graph_.global(args[0]);
  const Node& node = graph_[args[0]];
  if (node.kind == Node::call) {
    const auto& inner = graph_.sequence(node.items[1], "a sparse layout");
    if (inner.size() == 1) layout = graph_.string(inner[0], "a sparse layout");
  }
  const auto& data = graph_.sequence(args[1], "a sparse tensor's data");
  if (layout.ends_with("sparse_coo") && data.size() >= 3) {
    Tensor indices = one_tensor(data[0], depth), values = one_tensor(data[1], depth);
    return dense_from_coo(indices, values, sizes(data[2], "a sparse tensor's shape"), limits_,
                          dense_bytes_);
  }
  if ((layout.ends_with("sparse_csr") || layout.ends_with("sparse_csc")) && data.size() >= 4) {
    Tensor compressed = one_tensor(data[0], depth), plain = one_tensor(data[1], depth);
    Tensor values = one_tensor(data[2], depth);
    return dense_from_compressed(compressed, plain, values,
                                 sizes(data[3], "a sparse tensor's shape"), layout.ends_with("csc"),
                                 limits_, dense_bytes_);
  }
  fail("[torch] sparse layout '{}' cannot be converted; make the tensor dense before saving it",
       printable(layout));
}

std::vector<Tensor> TorchObjects::nested(const std::vector<NodeId>& args, int depth) const {
  if (args.size() != 4) fail("[torch] damaged: a nested tensor with {} arguments", args.size());
  Tensor buffer = one_tensor(args[0], depth);
  Tensor shapes = one_tensor(args[1], depth), strides = one_tensor(args[2], depth);
  Tensor offsets = one_tensor(args[3], depth);
  bool sound =
      shapes.shape.size() == 2 && shapes.shape == strides.shape && shapes.dtype == DType::int64 &&
      strides.dtype == DType::int64 && offsets.dtype == DType::int64 &&
      offsets.shape == std::vector<uint64_t>{shapes.shape[0]} &&
      shapes.shape[1] <= limits_.max_rank && buffer.shape.size() == 1 && buffer.strides[0] == 1;
  if (!sound) fail("[torch] damaged: a nested tensor whose parts do not fit together");
  uint64_t n = shapes.shape[0], rank = shapes.shape[1];
  if (n > limits_.max_tensors)
    fail("[torch] more than {} tensors (--max-tensors)", limits_.max_tensors);
  std::vector<Tensor> out;
  std::vector<int64_t> shape(rank), step(rank);
  for (uint64_t i = 0; i < n; ++i) {
    int64_t offset = 0;
    read_elements(shapes, i * rank, rank, shape.data());
    read_elements(strides, i * rank, rank, step.data());
    read_elements(offsets, i, 1, &offset);
    Tensor t = buffer;
    bool negative = offset < 0;
    t.shape.clear();
    t.strides.clear();
    for (uint64_t d = 0; d < rank; ++d) {
      negative = negative || shape[d] < 0 || step[d] < 0;
      t.shape.push_back(static_cast<uint64_t>(shape[d]));
      t.strides.push_back(static_cast<uint64_t>(step[d]));
    }
    if (negative || __builtin_add_overflow(t.offset, static_cast<uint64_t>(offset), &t.offset))
      fail("[torch] damaged: a nested tensor with a negative size");
    check_tensor(t, limits_);
    out.push_back(std::move(t));
  }
  return out;
}

void refuse_attacks(const PickleGraph& graph) {
  // Not what keeps us safe (nothing is ever called), but who sent such a file should be asked why.
  constexpr std::array<std::string_view, 17> kModules = {
      "os",     "posix",  "nt",    "subprocess", "sys",        "pty",
      "socket", "shutil", "runpy", "importlib",  "webbrowser", "commands",
      "ctypes", "pip",    "code",  "timeit",     "bdb"};
  constexpr std::array<std::string_view, 10> kBuiltins = {
      "eval",    "exec",       "compile", "open",       "getattr",
      "setattr", "__import__", "apply",   "breakpoint", "input"};
  for (NodeId id = 0; id < graph.size(); ++id) {
    const Node& node = graph[id];
    if (node.kind != Node::call) continue;
    std::string_view what = graph.global(node.items[0]);
    if (what.empty()) continue;
    std::string_view module = what.substr(0, what.find(' ')), name = name_part(what);
    std::string_view package = module.substr(0, module.find('.'));
    bool builtin = package == "builtins" || package == "__builtin__";
    if (std::find(kModules.begin(), kModules.end(), package) != kModules.end() ||
        (builtin && std::find(kBuiltins.begin(), kBuiltins.end(), name) != kBuiltins.end()))
      fail(
          "[torch] the file asks to call {}.{}, which no checkpoint needs: it looks like an "
          "attack. "
          "Nothing was run; do not load it with Python either",
          printable(module), printable(name));
  }
}

}  // namespace trm
