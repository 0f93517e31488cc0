// Vectors of the width a kernels_<isa>.cpp is compiled for, their elements in memory, and the
// functions of them that the kernels use. Included by elements_inl.h only.
#pragma once

#include <cstdint>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#include "trm/ops/cpu/kernels.h"

namespace trm::ops::cpu {
namespace {

constexpr int W = TRM_LANES;
typedef float V __attribute__((vector_size(W * 4)));
typedef float VU __attribute__((vector_size(W * 4), aligned(4), may_alias));
typedef int32_t I __attribute__((vector_size(W * 4)));
typedef uint32_t U __attribute__((vector_size(W * 4)));
typedef uint16_t H __attribute__((vector_size(W * 2)));
typedef uint16_t HU __attribute__((vector_size(W * 2), aligned(2), may_alias));
typedef uint16_t Half __attribute__((may_alias));

inline V load(const Word* p) { return *reinterpret_cast<const VU*>(p); }
inline void store(Word* p, V v) { *reinterpret_cast<VU*>(p) = v; }
inline V splat(float x) { return V{} + x; }
inline float sum(V v) {
  float s[W];
  store(s, v);
  for (int n = W / 2; n > 0; n /= 2) {
    for (int i = 0; i < n; ++i) s[i] += s[i + n];
  }
  return s[0];
}

// float -> bfloat16 bits in the low half of each lane, to nearest even; NaN stays NaN.
inline U round_bits(V v) {
#ifdef TRM_NATIVE_BF16
  return (U)_mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)v));
#else
  U u = (U)v;
  U r = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  U nan = (U)(v != v);
  return (r & ~nan) | (((u >> 16) | 0x40u) & nan);
#endif
}

// Element access, T = float or bfloat16.
template <bool BF>
inline V get(const void* p, long i) {
  if constexpr (BF) {
    H h = *reinterpret_cast<const HU*>(static_cast<const Half*>(p) + i);
#if defined(__AVX512F__)
    return (V)_mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)h), 16);
#else
    return (V)(__builtin_convertvector(h, U) << 16);
#endif
  } else {
    return load(static_cast<const float*>(p) + i);
  }
}
template <bool BF>
inline void put(void* p, long i, V v) {
  if constexpr (BF) {
#ifdef TRM_NATIVE_BF16
    H h = (H)_mm512_cvtneps_pbh((__m512)v);
#else
    H h = __builtin_convertvector(round_bits(v), H);
#endif
    *reinterpret_cast<HU*>(static_cast<Half*>(p) + i) = h;
  } else {
    store(static_cast<float*>(p) + i, v);
  }
}
// The same for the last n < W elements of a row.
template <bool BF>
inline V get_some(const void* p, long i, int n) {
  if (n >= W) return get<BF>(p, i);
  float t[W] = {};
  for (int j = 0; j < n; ++j) {
    if constexpr (BF) {
      uint32_t bits = static_cast<uint32_t>(static_cast<const Half*>(p)[i + j]) << 16;
      __builtin_memcpy(&t[j], &bits, 4);
    } else {
      t[j] = static_cast<const float*>(p)[i + j];
    }
  }
  return load(t);
}
template <bool BF>
inline void put_some(void* p, long i, int n, V v) {
  if (n >= W) return put<BF>(p, i, v);
  if constexpr (BF) {
    uint32_t bits[W];
    U u = round_bits(v);
    __builtin_memcpy(bits, &u, sizeof(u));
    for (int j = 0; j < n; ++j) static_cast<Half*>(p)[i + j] = static_cast<uint16_t>(bits[j]);
  } else {
    float t[W];
    store(t, v);
    for (int j = 0; j < n; ++j) static_cast<float*>(p)[i + j] = t[j];
  }
}

// Words of element rows k and k+1 (bfloat16), or of row k.
inline V pair_word(V low, V high) {
#ifdef TRM_NATIVE_BF16
  __m512i both = (__m512i)_mm512_cvtne2ps_pbh((__m512)high, (__m512)low);
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24,
                                         8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return (V)_mm512_permutexvar_epi16(order, both);
#else
  return (V)(round_bits(low) | (round_bits(high) << 16));
#endif
}

// x in low..high; NaN stays NaN.
inline V clamp(V x, float low, float high) {
#if defined(__AVX512F__)
  return (V)_mm512_min_ps((__m512)splat(high), _mm512_max_ps((__m512)splat(low), (__m512)x));
#else
  x = x < low ? splat(low) : x;
  return x > high ? splat(high) : x;
#endif
}

// e^x, ending at the float range: 2^n * 2^r with |r| <= 1/2. To 2e-7, for bfloat16 results to 1e-5.
template <bool BF>
inline V exp_(V x) {
  x = clamp(x, -87.0f, 88.0f);
  V shifted = x * 1.44269504f + 12582912.0f;  // 1.5*2^23: the sum's low bits are round(x/ln2)
  V n = shifted - 12582912.0f, p;
  if constexpr (BF) {
    V r = x * 1.44269504f - n;
    p = r * 9.5701e-3f + 5.5917863e-2f;
    p = p * r + 2.4024745e-1f;
    p = p * r + 6.9312181e-1f;
    p = p * r + 1.0f;
  } else {
    V r = x - n * 0.693359375f + n * 2.12194440e-4f;
    p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 0.5f;
    p = p * (r * r) + r + 1.0f;
  }
  return (V)((U)p + ((U)shifted << 23));
}

template <bool BF>
inline V reciprocal(V x) {
#if defined(__AVX512F__)
  V y = (V)_mm512_rcp14_ps((__m512)x);
  return BF ? y : y * (2.0f - x * y);
#else
  return 1.0f / x;
#endif
}
template <bool BF>
inline V sigmoid(V x) {
  return reciprocal<BF>(1.0f + exp_<BF>(-x));
}

inline V sqrt_(V v) {
#if defined(__AVX512F__)
  return (V)_mm512_sqrt_ps((__m512)v);
#else
  for (int i = 0; i < W; ++i) v[i] = __builtin_sqrtf(v[i]);
  return v;
#endif
}

// atan2 for x >= 0, as the C library's to 2 units in the last place; any x, finite y or NaN.
inline V atan2_right(V y, V x) {
  const float most = 3.4028235e38f;
  const U sign = U{} + 0x80000000u;
  V a = (V)((U)y & ~sign);
  x = x > most ? splat(most) : x;
  V low = a < x ? a : x, high = a < x ? x : a;
  V t = high == 0.0f ? V{} : low / high;  // in 0..1; then to 0..tan(pi/8)
  V turn = t > 0.414213562f ? splat(0.785398163f) : V{};
  t = t > 0.414213562f ? (t - 1.0f) / (t + 1.0f) : t;
  V z = t * t;
  V p = z * 8.05374449538e-2f - 1.38776856032e-1f;
  p = p * z + 1.99777106478e-1f;
  p = p * z - 3.33329491539e-1f;
  p = p * z * t + t + turn;
  p = a < x ? p : 1.57079633f - p;
  p = high == 0.0f ? V{} : p;
  return (V)((U)p | ((U)y & sign));
}

}  // namespace
}  // namespace trm::ops::cpu
