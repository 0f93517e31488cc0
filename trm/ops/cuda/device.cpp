#include "trm/ops/cuda/device.h"

#include <condition_variable>
#include <list>
#include <map>
#include <mutex>
#include <stdexcept>
#include <unordered_set>

#include <cudaTypedefs.h>
#include <fmt/format.h>

#include "mlx/backend/cuda/cuda.h"

namespace trm::ops::cuda {

namespace {

// Ten times the major number plus the minor; 0 where no GPU that gives memory in a stream's order
// is the default device.
int compute_capability() {
  if (mx::default_device() != mx::Device::gpu) return 0;
  static const int found = [] {
    if (!mx::cu::is_available()) return 0;
    auto& device = mx::cu::device(mx::Device(mx::Device::gpu, 0));
    int pools = 0;
    check(cudaDeviceGetAttribute(&pools, cudaDevAttrMemoryPoolsSupported, device.cuda_device()),
          "compute_capability");
    return pools ? 10 * device.compute_capability_major() + device.compute_capability_minor() : 0;
  }();
  return found;
}

}  // namespace

bool available() { return compute_capability() == 90; }

bool portable_available() { return compute_capability() >= 80; }

int processors() {
  static const int count = [] {
    int n = 0;
    check(cudaDeviceGetAttribute(&n, cudaDevAttrMultiProcessorCount, 0), "processors");
    return n;
  }();
  return count;
}

namespace {

using mx::cu::CudaBuffer;

// Buffers keep their CudaBuffer, by whose address MLX orders readers and writers, so that a buffer
// given out again is still ordered after its last use. Leaked at exit: arrays may outlive statics.
// `size` is what was asked for: mx::contiguous copies an array whose buffer is much larger.
struct PoolBuffer : CudaBuffer {
  size_t capacity;
};

struct Pool {
  std::mutex mutex;
  std::condition_variable progress;
  std::multimap<size_t, PoolBuffer*> free;
  std::unordered_set<const void*> all;  // CudaBuffers
  size_t used = 0;
  int64_t issued = 0, finished = 0;  // recorded nodes
  PoolCounts counts{};
};

Pool& pool() {
  static Pool* p = new Pool;
  return *p;
}

size_t rounded(size_t bytes) {
  size_t unit = bytes < (1u << 20) ? 512 : 1u << 21;
  return (std::max<size_t>(bytes, 1) + unit - 1) / unit * unit;
}

void release(mx::allocator::Buffer buffer) {
  auto* b = static_cast<PoolBuffer*>(static_cast<CudaBuffer*>(buffer.ptr()));
  auto& p = pool();
  std::lock_guard lock(p.mutex);
  p.used -= b->capacity;
  if (b->device >= 0) {
    p.free.emplace(b->capacity, b);
    return;
  }
  // MLX moved it to memory that the host sees (somebody read it there) and freed ours.
  p.counts.bytes -= b->capacity;
  p.all.erase(static_cast<CudaBuffer*>(b));
  cudaPointerAttributes attributes{};
  if (cudaPointerGetAttributes(&attributes, b->data) == cudaSuccess) {
    attributes.type == cudaMemoryTypeHost ? cudaFreeHost(b->data) : cudaFree(b->data);
  }
  delete b;
}

bool pooled(const mx::array& a) {
  auto* buffer = static_cast<const CudaBuffer*>(a.buffer().ptr());
  auto& p = pool();
  std::lock_guard lock(p.mutex);
  return p.all.contains(buffer) && buffer->device >= 0;
}

CudaBuffer* take(size_t size, mx::cu::CommandEncoder& encoder) {
  size_t bytes = rounded(size);
  auto& p = pool();
  std::lock_guard lock(p.mutex);
  auto found = p.free.lower_bound(bytes);
  PoolBuffer* b = nullptr;
  if (found != p.free.end() && found->first <= bytes + bytes / 4) {
    b = found->second;
    b->size = size;
    p.free.erase(found);
  } else {
    void* data = nullptr;
    encoder.device().make_current();
    cudaError_t error = cudaMallocAsync(&data, bytes, encoder.stream());
    if (error != cudaSuccess) {
      cudaGetLastError();
      throw std::runtime_error(fmt::format(
          "[cuda] out of memory: {} MB more on top of {} MB; use a smaller global_batch_size",
          bytes >> 20, p.counts.bytes >> 20));
    }
    b = new PoolBuffer{{data, size, encoder.device().cuda_device()}, bytes};
    p.counts.bytes += bytes;
    p.all.insert(static_cast<CudaBuffer*>(b));
  }
  p.used += b->capacity;
  p.counts.most_used = std::max(p.counts.most_used, p.used);
  return b;
}

// MLX's own operations give memory back when the device is done with them, while the host runs
// ahead. So recording waits until no more than this many of our operations are under way, which is
// enough to keep the device busy.
constexpr int64_t kAhead = 48;

void wait_for_the_device(mx::cu::CommandEncoder& encoder) {
  auto& p = pool();
  std::unique_lock lock(p.mutex);
  if (p.issued - p.finished <= kAhead) return;
  ++p.counts.waits;
  lock.unlock();
  encoder.commit();
  lock.lock();
  p.progress.wait(lock, [&] { return p.issued - p.finished <= kAhead; });
}

}  // namespace

PoolCounts pool_counts() {
  auto& p = pool();
  std::lock_guard lock(p.mutex);
  return p.counts;
}

void allocate(mx::array& out, mx::cu::CommandEncoder& encoder) {
  out.set_data(mx::allocator::Data(mx::allocator::Buffer(take(out.nbytes(), encoder)), release));
}

void allocate_over(const mx::array& in, mx::array& out, mx::cu::CommandEncoder& encoder) {
  // MLX lets memory be overwritten only where it made it (is_donatable); what ours is held by
  // tells the count of its arrays.
  bool ours = pooled(in);
  bool free = ours ? in.data_shared_ptr().use_count() == 1 : in.is_donatable();
  free = free && !out.is_tracer() && in.nbytes() == out.nbytes() && in.flags().row_contiguous;
  {
    auto& p = pool();
    std::lock_guard lock(p.mutex);
    ++(free ? p.counts.over : p.counts.refused);
  }
  if (free) {
    out.copy_shared_buffer(in);
  } else {
    allocate(out, encoder);
  }
}

void let_go(const mx::array& in, const Arrays& out, mx::cu::CommandEncoder& encoder) {
  if (pooled(in)) return;
  for (auto& o : out) {
    if (o.data_shared_ptr() == in.data_shared_ptr()) return;
  }
  encoder.add_temporary(in);
}

void leave_empty(mx::array& out) {
  out.set_data(mx::allocator::Data(mx::allocator::Buffer(nullptr), [](mx::allocator::Buffer) {}));
}

namespace {
mx::array& scratch_buffer(mx::cu::CommandEncoder& encoder, size_t bytes) {
  static auto* current = new mx::array(mx::zeros({0}, mx::uint8));
  if (current->nbytes() < bytes) {
    if (current->size() > 0) encoder.add_temporary(*current);  // until its last user is done
    int blocks = static_cast<int>((bytes + (1u << 21) - 1) >> 21);
    // Counted in 4-byte units: shapes are 32-bit.
    *current = mx::array({blocks << 19}, mx::uint32, nullptr, {});
    allocate(*current, encoder);
    current->set_status(mx::array::Status::available);
  }
  return *current;
}
}  // namespace

Scratch::Scratch(mx::cu::CommandEncoder& encoder, std::initializer_list<size_t> sizes)
    : buffer_(mx::array(0)) {
  size_t total = 0;
  for (size_t size : sizes) {
    offsets_.push_back(total);
    total += (size + 1023) / 1024 * 1024;
  }
  buffer_ = scratch_buffer(encoder, total);
}

void record(mx::cu::CommandEncoder& encoder, const Arrays& inputs, const Arrays& outputs,
            const Scratch* scratch, const std::function<void(cudaStream_t)>& launch) {
  for (auto& a : inputs) {
    encoder.set_input_array(a);
    // The next operation that gets this memory has to come after this one.
    if (pooled(a)) encoder.set_output_array(a);
  }
  for (auto& a : outputs) encoder.set_output_array(a);
  if (scratch) encoder.set_output_array(scratch->buffer());
  {
    auto capture = encoder.capture_context();
    launch(encoder.stream());
  }
  auto& p = pool();
  encoder.add_completed_handler([&p] {
    std::lock_guard lock(p.mutex);
    ++p.finished;
    p.progress.notify_all();
  });
  {
    std::lock_guard lock(p.mutex);
    ++p.issued;
  }
  wait_for_the_device(encoder);
}

mx::array half_weight(mx::cu::CommandEncoder& encoder, const mx::array& master, int rows,
                      int columns) {
  struct Copy {
    std::remove_cvref_t<decltype(master.data_shared_ptr())>
        data;  // held, so that it stays as it is
    int64_t offset;
    mx::array half;
  };
  static std::mutex mutex;
  static auto* copies = new std::list<Copy>;
  std::lock_guard lock(mutex);
  for (auto it = copies->begin(); it != copies->end(); ++it) {
    if (it->data == master.data_shared_ptr() && it->offset == master.offset() &&
        it->half.shape(0) == rows && it->half.shape(1) == columns) {
      copies->splice(copies->begin(), *copies, it);
      return copies->front().half;
    }
  }
  mx::array half({rows, columns}, mx::bfloat16, nullptr, {});
  allocate(half, encoder);
  half.set_status(mx::array::Status::available);
  record(encoder, {master}, {half}, nullptr, [&](cudaStream_t stream) {
    cast_padded(pointer<float>(master), bits(half), master.shape(0), master.shape(1), rows, columns,
                stream);
  });
  copies->push_front({master.data_shared_ptr(), master.offset(), half});
  constexpr size_t most = 16;
  if (copies->size() > most) {
    encoder.add_temporary(copies->back().half);
    copies->pop_back();
  }
  return half;
}

namespace {

constexpr cuuint32_t kMostDimensions = 5;

// The copy engine counts dimensions from the innermost; strides are in bytes, of all but that.
CUtensorMap encode_map(const void* data, cuuint32_t rank, const cuuint64_t* sizes,
                       const cuuint64_t* strides, const cuuint32_t* box) {
  static const auto encode = [] {
    void* f = nullptr;
    cudaDriverEntryPointQueryResult found;
    check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &f, 12000, cudaEnableDefault,
                                           &found),
          "cuTensorMapEncodeTiled");
    return reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(f);
  }();
  cuuint32_t steps[kMostDimensions] = {1, 1, 1, 1, 1};
  CUtensorMap map;
  CUresult result =
      encode(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, rank, const_cast<void*>(data), sizes, strides,
             box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) {
    throw std::runtime_error(
        fmt::format("[cuda] cuTensorMapEncodeTiled failed ({})", static_cast<int>(result)));
  }
  return map;
}

}  // namespace

CUtensorMap tensor_map(const void* data, std::initializer_list<int64_t> shape,
                       std::initializer_list<int> box) {
  cuuint64_t sizes[kMostDimensions], strides[kMostDimensions];
  cuuint32_t boxes[kMostDimensions];
  auto rank = static_cast<cuuint32_t>(shape.size());
  cuuint64_t bytes = 2;
  for (cuuint32_t i = 0; i < rank; ++i) {
    sizes[i] = static_cast<cuuint64_t>(*(shape.end() - 1 - i));
    boxes[i] = static_cast<cuuint32_t>(*(box.end() - 1 - i));
    bytes *= sizes[i];
    strides[i] = bytes;
  }
  return encode_map(data, rank, sizes, strides, boxes);
}

CUtensorMap weight_map(const half* data, int64_t rows, int64_t columns, int groups) {
  auto row = static_cast<cuuint64_t>(columns) * 2;
  cuuint64_t sizes[] = {static_cast<cuuint64_t>(columns), 2, 4, 4,
                        static_cast<cuuint64_t>(rows / 32)};  // column, e, t, b, group
  cuuint64_t strides[] = {row, 8 * row, 2 * row, 32 * row};
  cuuint32_t box[] = {64, 2, 4, 4, static_cast<cuuint32_t>(groups)};
  return encode_map(data, 5, sizes, strides, box);
}

void swiglu(const half* x, const half* weight, half* product, half* gate_up, int64_t rows,
            int inner, cudaStream_t stream) {
  constexpr int width = 512;
  swiglu({tensor_map(x, {rows, width}, {128, 64}), weight_map(weight, 2 * inner, width, 2)},
         product, gate_up, static_cast<int>(rows), inner, processors(), stream);
}

void project_qkv(const half* x, const half* weight, half* out, const float* cos, const float* sin,
                 int64_t rows, int tokens, int columns, cudaStream_t stream) {
  constexpr int width = 512;
  project_qkv({tensor_map(x, {rows, width}, {128, 64}), weight_map(weight, columns, width, 4)}, out,
              cos, sin, static_cast<int>(rows), tokens, columns, processors(), stream);
}

void product_norm(const half* p, const half* weight, const half* x, half* y, float* r, int64_t rows,
                  int inner, float eps, cudaStream_t stream) {
  constexpr int width = 512;
  product_norm({tensor_map(p, {rows, inner}, {128, 64}), weight_map(weight, width, inner, 4)}, x, y,
               r, static_cast<int>(rows), inner, eps, processors(), stream);
}

}  // namespace trm::ops::cuda
