// The optimizer's step and the average of the weights in one pass over memory.
#include <initializer_list>

#include "trm/ops/cuda/kernels.h"

namespace trm::ops::cuda {
namespace {

struct Step {
  AdamConstants c;
  __device__ void operator()(float& p, float& m, float& v, float& average, float g) const {
    m += c.one_minus_beta1 * (g - m);
    v += c.one_minus_beta2 * (g * g - v);
    p = p * c.decay - c.step_size * atan2f(m, sqrtf(v) * c.inv_sqrt_bias2);
    average = c.one_minus_rate * p + c.rate * average;
  }
};

// Four values a thread, at once where all arrays are aligned to that.
__global__ void adam_kernel(AdamArrays a, AdamConstants constants, int64_t n, bool aligned) {
  Step step{constants};
  if (a.decay) {
    step.c.decay = *a.decay, step.c.step_size = *a.step_size;
    step.c.inv_sqrt_bias2 = *a.inv_sqrt_bias2;
  }
  int64_t at = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * 4;
  if (aligned && at + 4 <= n) {
    auto read = [&](const float* from) { return *reinterpret_cast<const float4*>(from + at); };
    auto write = [&](float* to, float4 v) { *reinterpret_cast<float4*>(to + at) = v; };
    float4 p = read(a.p), g = read(a.g), m = read(a.m), v = read(a.v);
    float4 average = a.average ? read(a.average) : p;
    step(p.x, m.x, v.x, average.x, g.x);
    step(p.y, m.y, v.y, average.y, g.y);
    step(p.z, m.z, v.z, average.z, g.z);
    step(p.w, m.w, v.w, average.w, g.w);
    write(a.p_out, p), write(a.m_out, m), write(a.v_out, v);
    if (a.average) write(a.average_out, average);
    return;
  }
  for (int64_t end = min(at + 4, n); at < end; ++at) {
    float p = a.p[at], m = a.m[at], v = a.v[at], average = a.average ? a.average[at] : 0;
    step(p, m, v, average, a.g[at]);
    a.p_out[at] = p, a.m_out[at] = m, a.v_out[at] = v;
    if (a.average) a.average_out[at] = average;
  }
}

}  // namespace

void adam_atan2(const AdamArrays& arrays, const AdamConstants& constants, int64_t n,
                cudaStream_t stream) {
  constexpr int threads = 256;
  int64_t blocks = (n + 4 * threads - 1) / (4 * threads);
  uintptr_t bits = 0;
  for (const float* p :
       {arrays.p, arrays.g, arrays.m, arrays.v, arrays.average,
        static_cast<const float*>(arrays.average_out), static_cast<const float*>(arrays.p_out),
        static_cast<const float*>(arrays.m_out), static_cast<const float*>(arrays.v_out)}) {
    bits |= reinterpret_cast<uintptr_t>(p);
  }
  adam_kernel<<<static_cast<unsigned>(blocks), threads, 0, stream>>>(arrays, constants, n,
                                                                     bits % 16 == 0);
  check(cudaGetLastError(), "adam_atan2");
}

}  // namespace trm::ops::cuda
