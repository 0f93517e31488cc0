// Kernels that pass over memory once: norms, their gradients, rotation, casts.
#include <stdexcept>
#include <string>

#include "trm/ops/cuda/kernels.h"
#include "trm/ops/cuda/sm90.cuh"

namespace trm::ops::cuda {

void check(cudaError_t error, const char* where) {
  if (error == cudaSuccess) return;
  throw std::runtime_error(std::string("[cuda] ") + where + ": " + cudaGetErrorString(error));
}

namespace {

constexpr int kThreads = 256, kWarps = kThreads / 32;

struct Eight {  // 16 bytes of bfloat16
  uint4 bits;
  __device__ float operator[](int i) const {
    uint32_t word = (&bits.x)[i / 2];
    return i % 2 ? high(word) : low(word);
  }
};

__device__ Eight load(const half* p) { return {*reinterpret_cast<const uint4*>(p)}; }

__device__ void store(half* p, const float (&v)[8]) {
  *reinterpret_cast<uint4*>(p) = {pack(v[0], v[1]), pack(v[2], v[3]), pack(v[4], v[5]),
                                  pack(v[6], v[7])};
}

__device__ float warp_sum(float v) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) v += __shfl_xor_sync(~0u, v, step);
  return v;
}

__global__ void cast_kernel(const float* from, half* to, int rows, int columns, int out_rows,
                            int out_columns) {
  int at = blockIdx.x * blockDim.x + threadIdx.x;
  if (at >= out_rows * out_columns) return;
  int row = at / out_columns, column = at % out_columns;
  float v = row < rows && column < columns ? from[row * columns + column] : 0.0f;
  reinterpret_cast<__nv_bfloat16*>(to)[at] = __float2bfloat16_rn(v);
}

// A warp a row; kLoads * 256 values a row.
template <int kLoads>
__global__ void rms_kernel(half* s, float* r, int64_t rows, float eps) {
  int64_t row = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32;
  if (row >= rows) return;
  half* at = s + row * kLoads * 256 + threadIdx.x % 32 * 8;
  Eight v[kLoads];
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kLoads; ++i) v[i] = load(at + i * 256);
#pragma unroll
  for (int i = 0; i < kLoads; ++i) {
#pragma unroll
    for (int j = 0; j < 8; ++j) sum += v[i][j] * v[i][j];
  }
  float scale = rsqrtf(warp_sum(sum) / (kLoads * 256) + eps);
  if (r && threadIdx.x % 32 == 0) r[row] = scale;
#pragma unroll
  for (int i = 0; i < kLoads; ++i) {
    float out[8];
#pragma unroll
    for (int j = 0; j < 8; ++j) out[j] = v[i][j] * scale;
    store(at + i * 256, out);
  }
}

template <int kLoads>
__global__ void rms_backward_kernel(const half* y, const half* dy, const float* r, half* ds,
                                    int64_t rows) {
  int64_t row = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32;
  if (row >= rows) return;
  int64_t at = row * kLoads * 256 + threadIdx.x % 32 * 8;
  Eight a[kLoads], b[kLoads];
  float dot = 0;
#pragma unroll
  for (int i = 0; i < kLoads; ++i) a[i] = load(y + at + i * 256), b[i] = load(dy + at + i * 256);
#pragma unroll
  for (int i = 0; i < kLoads; ++i) {
#pragma unroll
    for (int j = 0; j < 8; ++j) dot += a[i][j] * b[i][j];
  }
  float mean = warp_sum(dot) / (kLoads * 256), scale = r[row];
#pragma unroll
  for (int i = 0; i < kLoads; ++i) {
    float out[8];
#pragma unroll
    for (int j = 0; j < 8; ++j) out[j] = scale * (b[i][j] - a[i][j] * mean);
    store(ds + at + i * 256, out);
  }
}

// A block takes 64 channels of a sample: 8 warps share the tokens, a lane has 2 channels.
__global__ void rms_tokens_backward_kernel(const half* y, const half* dy, const float* r, half* ds,
                                           int tokens, int width) {
  constexpr int each = kTokensMax / kWarps;
  __shared__ float2 sums[kWarps][32];
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32, parts = width / 64;
  int sample = blockIdx.x / parts, channel = blockIdx.x % parts * 64 + lane * 2;
  int64_t base = static_cast<int64_t>(sample) * tokens * width + channel;
  uint32_t a[each], b[each];
  float2 dot = {0, 0};
#pragma unroll
  for (int i = 0; i < each; ++i) {
    int token = warp + i * kWarps;
    int64_t at = base + static_cast<int64_t>(token) * width;
    a[i] = token < tokens ? *reinterpret_cast<const uint32_t*>(y + at) : 0;
    b[i] = token < tokens ? *reinterpret_cast<const uint32_t*>(dy + at) : 0;
  }
#pragma unroll
  for (int i = 0; i < each; ++i) {
    dot.x += low(a[i]) * low(b[i]);
    dot.y += high(a[i]) * high(b[i]);
  }
  sums[warp][lane] = dot;
  __syncthreads();
  float2 mean = {0, 0};
#pragma unroll
  for (int i = 0; i < kWarps; ++i) mean.x += sums[i][lane].x, mean.y += sums[i][lane].y;
  mean.x /= tokens;
  mean.y /= tokens;
  float2 scale =
      *reinterpret_cast<const float2*>(r + static_cast<int64_t>(sample) * width + channel);
#pragma unroll
  for (int i = 0; i < each; ++i) {
    int token = warp + i * kWarps;
    if (token >= tokens) break;
    *reinterpret_cast<uint32_t*>(ds + base + static_cast<int64_t>(token) * width) = pack(
        scale.x * (low(b[i]) - low(a[i]) * mean.x), scale.y * (high(b[i]) - high(a[i]) * mean.y));
  }
}

__global__ void rotate_kernel(half* qkv, const float* cos, const float* sin, int64_t count,
                              int tokens, int heads, int dim, float sign) {
  int64_t at = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (at >= count) return;
  int half_dim = dim / 2, per_head = half_dim / 8, per_row = 2 * heads * per_head;
  int64_t row = at / per_row;
  int in_row = static_cast<int>(at % per_row), head = in_row / per_head;
  int pair = in_row % per_head * 8;
  half* a_at = qkv + row * 3 * heads * dim + head * dim + pair;
  Eight a = load(a_at), b = load(a_at + half_dim);
  int angle = static_cast<int>(row % tokens) * half_dim + pair;
  float out_a[8], out_b[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    float c = cos[angle + i], s = sin[angle + i] * sign;
    out_a[i] = a[i] * c - b[i] * s;
    out_b[i] = b[i] * c + a[i] * s;
  }
  store(a_at, out_a);
  store(a_at + half_dim, out_b);
}

unsigned blocks(int64_t items, int each) {
  return static_cast<unsigned>((items + each - 1) / each);
}

// Calls f with width / 256 as a compile-time constant.
template <class F>
void by_loads(int width, F&& f) {
  switch (width / 256) {
    case 1:
      return f(std::integral_constant<int, 1>());
    case 2:
      return f(std::integral_constant<int, 2>());
    case 3:
      return f(std::integral_constant<int, 3>());
    case 4:
      return f(std::integral_constant<int, 4>());
    default:
      throw std::invalid_argument("[cuda] a row is 256 to 1024 values wide");
  }
}

}  // namespace

void cast_padded(const float* from, half* to, int rows, int columns, int out_rows, int out_columns,
                 cudaStream_t stream) {
  cast_kernel<<<blocks(static_cast<int64_t>(out_rows) * out_columns, kThreads), kThreads, 0,
                stream>>>(from, to, rows, columns, out_rows, out_columns);
  check(cudaGetLastError(), "cast_padded");
}

void rms_rows(half* s, float* r, int64_t rows, int width, float eps, cudaStream_t stream) {
  by_loads(width, [&](auto loads) {
    rms_kernel<loads><<<blocks(rows, kWarps), kThreads, 0, stream>>>(s, r, rows, eps);
  });
  check(cudaGetLastError(), "rms_rows");
}

void rms_rows_backward(const half* y, const half* dy, const float* r, half* ds, int64_t rows,
                       int width, cudaStream_t stream) {
  by_loads(width, [&](auto loads) {
    rms_backward_kernel<loads><<<blocks(rows, kWarps), kThreads, 0, stream>>>(y, dy, r, ds, rows);
  });
  check(cudaGetLastError(), "rms_rows_backward");
}

void rms_tokens_backward(const half* y, const half* dy, const float* r, half* ds, int batch,
                         int tokens, int width, cudaStream_t stream) {
  rms_tokens_backward_kernel<<<static_cast<unsigned>(batch * (width / 64)), kThreads, 0, stream>>>(
      y, dy, r, ds, tokens, width);
  check(cudaGetLastError(), "rms_tokens_backward");
}

void rotate(half* qkv, const float* cos, const float* sin, int64_t rows, int tokens, int heads,
            int dim, bool inverse, cudaStream_t stream) {
  int64_t count = rows * 2 * heads * (dim / 16);
  rotate_kernel<<<blocks(count, kThreads), kThreads, 0, stream>>>(
      qkv, cos, sin, count, tokens, heads, dim, inverse ? -1.0f : 1.0f);
  check(cudaGetLastError(), "rotate");
}

}  // namespace trm::ops::cuda
