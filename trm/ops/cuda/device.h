// What our CUDA primitives share: device memory, recording into MLX's command graph, bfloat16
// copies of the weights, descriptions of matrices for the tensor copy engine.
#pragma once

#include <functional>
#include <initializer_list>

#include <cuda.h>

#include "mlx/backend/cuda/device.h"
#include "trm/mlx.h"
#include "trm/ops/cuda/kernels.h"

namespace trm::ops::cuda {

/// True where all kernels run: an NVIDIA GPU of compute capability 9.0 is the default device.
bool available();
/// True where those without Hopper's instructions (adam_atan2.cu) run: from 8.0 on.
bool portable_available();
int processors();

/// Device memory for `out`, from a pool of ours that is never given back (MLX's own device
/// allocation is not exported, and its public one is managed memory).
void allocate(mx::array& out, mx::cu::CommandEncoder& encoder);

/// The same, but over `in` where nobody else holds that: a chain of operations then runs in place.
/// Only inside GpuPrimitive::run, for an input that the op wrapped in mx::contiguous.
void allocate_over(const mx::array& in, mx::array& out, mx::cu::CommandEncoder& encoder);

/// An output nobody asked for.
void leave_empty(mx::array& out);

/// Ends this operation's hold of an input. Memory of the pool is free for the next operation that
/// is recorded, for MLX's graph runs that one later; other memory once the device is done.
void let_go(const mx::array& in, const Arrays& out, mx::cu::CommandEncoder& encoder);

/// For benchmarks: bytes of the pool, the most that were in use at once, outputs written over an
/// input, outputs that were to be but whose input somebody else held, waits for the device.
struct PoolCounts {
  size_t bytes, most_used;
  int64_t over, refused, waits;
};
PoolCounts pool_counts();

template <class T>
T* pointer(const mx::array& a) {
  auto* buffer = static_cast<const mx::cu::CudaBuffer*>(a.buffer().ptr());
  return reinterpret_cast<T*>(static_cast<char*>(buffer->data) + a.offset());
}
inline half* bits(const mx::array& a) { return pointer<half>(a); }

/// Scratch memory that all our primitives share, one after the other: pieces of one buffer.
class Scratch {
 public:
  Scratch(mx::cu::CommandEncoder& encoder, std::initializer_list<size_t> sizes);
  template <class T>
  T* piece(int i) const {
    return reinterpret_cast<T*>(pointer<char>(buffer_) + offsets_[static_cast<size_t>(i)]);
  }
  const mx::array& buffer() const { return buffer_; }

 private:
  std::vector<size_t> offsets_;
  mx::array buffer_;
};

/// Records what `launch` does on the stream it gets as one node of MLX's graph, after the writers
/// of `inputs` and before the readers of `outputs`. Primitives that use `scratch` follow each
/// other. Waits for the device where too much is under way.
void record(mx::cu::CommandEncoder& encoder, const Arrays& inputs, const Arrays& outputs,
            const Scratch* scratch, const std::function<void(cudaStream_t)>& launch);

/// The bfloat16 copy of a float32 matrix, (rows, columns) or zero-padded to that. Made once for
/// each state of the weight: the copies of the last few weights are kept.
mx::array half_weight(mx::cu::CommandEncoder& encoder, const mx::array& master, int rows,
                      int columns);

/// y = RMS(x + p weight^T), x and y (rows, 512), p (rows, inner), weight (512, inner).
void product_norm(const half* p, const half* weight, const half* x, half* y, float* r, int64_t rows,
                  int inner, float eps, cudaStream_t stream);

/// product (rows, inner) = silu(x Wg^T) (x Wu^T), [Wg; Wu] = weight (2 inner, 512), and unless null
/// gate_up (rows, 2 inner) = x weight^T.
void swiglu(const half* x, const half* weight, half* product, half* gate_up, int64_t rows,
            int inner, cudaStream_t stream);

/// out = x weight^T, q and k rotated unless cos is null: x (rows, 512), out (rows, columns).
void project_qkv(const half* x, const half* weight, half* out, const float* cos, const float* sin,
                 int64_t rows, int tokens, int columns, cudaStream_t stream);

/// A row-major bfloat16 matrix (…, rows, columns) and the box that one copy moves.
CUtensorMap tensor_map(const void* data, std::initializer_list<int64_t> shape,
                       std::initializer_list<int> box);

/// A weight (rows, columns) for kernels that keep the product in registers: boxes of 64 columns and
/// `groups` times 32 rows. Row 8 t + 2 b + e of a group lies at 8 b + 2 t + e of the box, so that
/// thread t of a quad finds outputs 8 t to 8 t + 7 in its accumulators. rows is a multiple of 32.
CUtensorMap weight_map(const half* data, int64_t rows, int64_t columns, int groups);

}  // namespace trm::ops::cuda
