#include "trm/checkpoint/checkpoint.h"

#include <array>
#include <cstring>
#include <limits>
#include <memory>

#include <mlx/backend/cpu/encoder.h>
#include <mlx/primitives.h>

#include "trm/checkpoint/decode.h"
#include "trm/checkpoint/output.h"
#include "trm/checkpoint/source_file.h"
#include "trm/io/text.h"

namespace trm {

namespace {

/// Reads a tensor of a file when the array is evaluated. The read is done on the caller's thread,
/// so that an error reaches whoever asked for the values.
class ReadTensor : public mx::Primitive {
 public:
  ReadTensor(mx::Stream stream, std::string name, Tensor tensor, DTypePolicy policy)
      : mx::Primitive(stream),
        name_(std::move(name)),
        tensor_(std::move(tensor)),
        policy_(policy) {}

  void eval_cpu(const std::vector<mx::array>&, std::vector<mx::array>& outputs) override {
    mx::array& out = outputs[0];
    out.set_data(mx::allocator::malloc(out.nbytes()));
    decode_elements(tensor_, policy_, name_, 0, out.size(), out.data<std::byte>());
  }
  void eval_gpu(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    eval_cpu(inputs, outputs);
  }
  const char* name() const override { return "ReadTensor"; }

 private:
  std::string name_;
  Tensor tensor_;
  DTypePolicy policy_;
};

struct Pair {
  DType ours;
  mx::Dtype theirs;
};

const std::array<Pair, 14>& pairs() {
  static const std::array<Pair, 14> table = {{{DType::bool_, mx::bool_},
                                              {DType::uint8, mx::uint8},
                                              {DType::uint16, mx::uint16},
                                              {DType::uint32, mx::uint32},
                                              {DType::uint64, mx::uint64},
                                              {DType::int8, mx::int8},
                                              {DType::int16, mx::int16},
                                              {DType::int32, mx::int32},
                                              {DType::int64, mx::int64},
                                              {DType::float16, mx::float16},
                                              {DType::bfloat16, mx::bfloat16},
                                              {DType::float32, mx::float32},
                                              {DType::float64, mx::float64},
                                              {DType::complex64, mx::complex64}}};
  return table;
}

mx::Dtype mlx_dtype(DType dtype) {
  for (const Pair& p : pairs())
    if (p.ours == dtype) return p.theirs;
  fail("[checkpoint] MLX has no {}", name_of(dtype));
}

DType dtype_of(const mx::array& a) {
  for (const Pair& p : pairs())
    if (p.theirs == a.dtype()) return p.ours;
  fail("[checkpoint] arrays of this type cannot be saved");
}

mx::array lazy_array(const NamedTensor& named, const DTypePolicy& policy) {
  mx::Shape shape;
  for (uint64_t n : named.tensor.shape) {
    if (n > static_cast<uint64_t>(std::numeric_limits<int32_t>::max()))
      fail("[checkpoint] {} has a dimension of {}, beyond MLX's 2^31 - 1", printable(named.name),
           n);
    shape.push_back(static_cast<int32_t>(n));
  }
  auto stream = mx::default_stream(mx::Device::cpu);
  return mx::array(std::move(shape), mlx_dtype(target_dtype(named.tensor, policy)),
                   std::make_shared<ReadTensor>(stream, named.name, named.tensor, policy), {});
}

/// The arrays in memory, row-major, as what the writers take. The arrays live in the closures.
std::vector<OutTensor> out_tensors(const NamedArrays& tensors) {
  Arrays arrays;
  auto cpu = mx::Device(mx::Device::cpu);
  for (auto& [name, array] : tensors) arrays.push_back(mx::contiguous(array, false, cpu));
  mx::eval(arrays);
  std::vector<OutTensor> out;
  for (size_t i = 0; i < arrays.size(); ++i) {
    OutTensor t;
    t.name = tensors[i].first;
    t.dtype = dtype_of(arrays[i]);
    for (int n : arrays[i].shape()) t.shape.push_back(static_cast<uint64_t>(n));
    // The pointer is asked for here: on a GPU that moves the array to the host, and fill runs on
    // several threads.
    t.fill = [array = arrays[i], data = arrays[i].data<std::byte>(), item = size_of(t.dtype)](
                 uint64_t first, uint64_t n, std::byte* to) {
      memcpy(to, data + first * item, n * item);
    };
    out.push_back(std::move(t));
  }
  return out;
}

}  // namespace

const mx::array* Checkpoint::find(const std::string& name) const {
  for (auto& [key, array] : tensors)
    if (key == name) return &array;
  return nullptr;
}

Checkpoint load_checkpoint(const std::filesystem::path& path, const CheckpointOptions& options) {
  SourceFile source = open_source(path, {options.key, options.limits});
  DTypePolicy policy;
  policy.keep_bfloat16 = !options.bfloat16_to_float32;
  policy.keep_float64 = !options.float64_to_float32;
  Checkpoint out;
  out.format = source.format;
  out.metadata = std::move(source.metadata);
  out.notes = std::move(source.weights.notes);
  for (const NamedTensor& t : source.weights.tensors)
    out.tensors.emplace_back(options.strip_orig_mod ? strip_orig_mod(t.name) : t.name,
                             lazy_array(t, policy));
  return out;
}

void save_npz(const std::filesystem::path& path, const NamedArrays& tensors) {
  write_npz(path, out_tensors(tensors));
}

void save_safetensors(const std::filesystem::path& path, const NamedArrays& tensors,
                      const std::map<std::string, std::string>& metadata) {
  write_safetensors(path, out_tensors(tensors), metadata);
}

void save_torch(const std::filesystem::path& path, const NamedArrays& tensors) {
  write_torch(path, out_tensors(tensors));
}

}  // namespace trm
