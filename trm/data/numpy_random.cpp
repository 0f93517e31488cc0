#include "trm/data/numpy_random.h"

#include <bit>
#include <numeric>
#include <stdexcept>

#include <fmt/format.h>

namespace trm {

namespace {
/// The smallest 2^k - 1 that is not below `max`.
uint32_t mask_of(uint32_t max) { return max == 0 ? 0 : ~uint32_t{0} >> std::countl_zero(max); }
}  // namespace

// ---- MT19937 (Matsumoto and Nishimura 1998) as numpy.random.RandomState draws from it ----

NumpyMt19937::NumpyMt19937(uint32_t seed) {
  for (uint32_t i = 0; i < state_.size(); ++i) {
    state_[i] = seed;
    seed = 1812433253u * (seed ^ (seed >> 30)) + i + 1;
  }
}

void NumpyMt19937::refill() {
  constexpr size_t n = 624, m = 397;
  for (size_t i = 0; i < n; ++i) {
    uint32_t y = (state_[i] & 0x80000000u) | (state_[(i + 1) % n] & 0x7fffffffu);
    state_[i] = state_[(i + m) % n] ^ (y >> 1) ^ ((y & 1) ? 0x9908b0dfu : 0u);
  }
  position_ = 0;
}

uint32_t NumpyMt19937::next_uint32() {
  if (position_ == state_.size()) refill();
  uint32_t y = state_[position_++];
  y ^= y >> 11;
  y ^= (y << 7) & 0x9d2c5680u;
  y ^= (y << 15) & 0xefc60000u;
  return y ^ (y >> 18);
}

double NumpyMt19937::rand() {
  uint32_t high = next_uint32() >> 5, low = next_uint32() >> 6;
  return (high * 67108864.0 + low) / 9007199254740992.0;
}

uint32_t NumpyMt19937::interval(uint32_t max) {
  if (max == 0) return 0;
  uint32_t mask = mask_of(max), value;
  do value = next_uint32() & mask;
  while (value > max);
  return value;
}

int64_t NumpyMt19937::randint(int64_t low, int64_t high) {
  if (low >= high || high - low > int64_t{1} << 32) {
    throw std::invalid_argument(fmt::format("[randint] bad range [{}, {})", low, high));
  }
  return low + interval(static_cast<uint32_t>(high - low - 1));
}

std::vector<int32_t> NumpyMt19937::permutation(size_t n) {
  std::vector<int32_t> p(n);
  std::iota(p.begin(), p.end(), 0);
  shuffle(n, [&](size_t i, size_t j) { std::swap(p[i], p[j]); });
  return p;
}

void NumpyMt19937::permutation_into(uint8_t* out, int n, int first) {
  std::iota(out, out + n, static_cast<uint8_t>(first));
  shuffle(static_cast<size_t>(n), [&](size_t i, size_t j) { std::swap(out[i], out[j]); });
}

std::vector<int32_t> NumpyMt19937::choice(size_t n, size_t size) {
  if (size > n) {
    throw std::invalid_argument(fmt::format("[choice] cannot take {} of {} items", size, n));
  }
  auto p = permutation(n);
  p.resize(size);
  return p;
}

// ---- Philox4x64-10 (Salmon et al. 2011) as numpy.random.Generator draws from it ----

namespace {
/// numpy.random.SeedSequence(seed).generate_state(2, uint64): O'Neill's seed_seq with a pool of 4.
std::array<uint64_t, 2> seed_sequence(uint64_t seed) {
  uint32_t hash_const = 0x43b0d7e5u;
  auto hashmix = [&](uint32_t value) {
    value ^= hash_const;
    hash_const *= 0x931e8875u;
    value *= hash_const;
    return value ^ (value >> 16);
  };
  auto mix = [](uint32_t x, uint32_t y) {
    uint32_t r = 0xca01f9ddu * x - 0x4973f715u * y;
    return r ^ (r >> 16);
  };
  uint32_t entropy[4] = {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32), 0, 0};
  uint32_t pool[4];
  for (int i = 0; i < 4; ++i) pool[i] = hashmix(entropy[i]);
  for (int from = 0; from < 4; ++from) {
    for (int to = 0; to < 4; ++to) {
      if (from != to) pool[to] = mix(pool[to], hashmix(pool[from]));
    }
  }
  uint32_t out[4];
  hash_const = 0x8b51f9ddu;
  for (int i = 0; i < 4; ++i) {
    uint32_t value = pool[i] ^ hash_const;
    hash_const *= 0x58f38dedu;
    value *= hash_const;
    out[i] = value ^ (value >> 16);
  }
  return {out[0] | uint64_t{out[1]} << 32, out[2] | uint64_t{out[3]} << 32};
}

std::array<uint64_t, 4> philox_block(std::array<uint64_t, 4> c, std::array<uint64_t, 2> k) {
  for (int round = 0; round < 10; ++round) {
    unsigned __int128 p0 = static_cast<unsigned __int128>(0xD2E7470EE14C6C93u) * c[0];
    unsigned __int128 p1 = static_cast<unsigned __int128>(0xCA5A826395121157u) * c[2];
    c = {static_cast<uint64_t>(p1 >> 64) ^ c[1] ^ k[0], static_cast<uint64_t>(p1),
         static_cast<uint64_t>(p0 >> 64) ^ c[3] ^ k[1], static_cast<uint64_t>(p0)};
    k[0] += 0x9E3779B97F4A7C15u;
    k[1] += 0xBB67AE8584CAA73Bu;
  }
  return c;
}
}  // namespace

NumpyPhilox::NumpyPhilox(uint64_t seed) { s_.key = seed_sequence(seed); }

uint64_t NumpyPhilox::next_uint64() {
  if (s_.buffer_position >= 4) {
    for (auto& word : s_.counter) {
      if (++word != 0) break;
    }
    s_.buffer = philox_block(s_.counter, s_.key);
    s_.buffer_position = 0;
  }
  return s_.buffer[s_.buffer_position++];
}

uint32_t NumpyPhilox::next_uint32() {
  if (s_.has_half) {
    s_.has_half = 0;
    return s_.half;
  }
  uint64_t next = next_uint64();
  s_.has_half = 1;
  s_.half = static_cast<uint32_t>(next >> 32);
  return static_cast<uint32_t>(next);
}

uint64_t NumpyPhilox::bounded(uint64_t max) {
  if (max == 0) return 0;
  if (max < 0xFFFFFFFFu) {
    uint32_t range = static_cast<uint32_t>(max) + 1;
    uint64_t m = uint64_t{next_uint32()} * range;
    if (static_cast<uint32_t>(m) < range) {
      uint32_t threshold = (0xFFFFFFFFu - static_cast<uint32_t>(max)) % range;
      while (static_cast<uint32_t>(m) < threshold) m = uint64_t{next_uint32()} * range;
    }
    return m >> 32;
  }
  if (max == 0xFFFFFFFFu) return next_uint32();
  if (max == ~uint64_t{0}) return next_uint64();
  uint64_t range = max + 1;
  auto m = static_cast<unsigned __int128>(next_uint64()) * range;
  if (static_cast<uint64_t>(m) < range) {
    uint64_t threshold = (~uint64_t{0} - max) % range;
    while (static_cast<uint64_t>(m) < threshold) {
      m = static_cast<unsigned __int128>(next_uint64()) * range;
    }
  }
  return static_cast<uint64_t>(m >> 64);
}

// NumPy's Generator shuffles by masked rejection, where its integers() and choice() use Lemire's
// method.
uint32_t NumpyPhilox::interval(uint32_t max) {
  uint32_t mask = mask_of(max), value;
  do value = next_uint32() & mask;
  while (value > max);
  return value;
}

void NumpyPhilox::permutation(int32_t n, std::vector<int32_t>& out) {
  out.resize(static_cast<size_t>(n));
  std::iota(out.begin(), out.end(), 0);
  for (int32_t i = n - 1; i > 0; --i) std::swap(out[i], out[interval(static_cast<uint32_t>(i))]);
}

void NumpyPhilox::skip_permutation(int32_t n) {
  for (int32_t i = n - 1; i > 0; --i) interval(static_cast<uint32_t>(i));
}

void NumpyPhilox::choice(int64_t n, int64_t size, std::vector<int64_t>& out) {
  if (size < 0 || size > n) {
    throw std::invalid_argument(fmt::format("[choice] cannot take {} of {} items", size, n));
  }
  auto shuffle = [&](int64_t length, int64_t first) {
    for (int64_t i = length - 1; i >= first; --i) {
      std::swap(out[i], out[bounded(static_cast<uint64_t>(i))]);
    }
  };
  if (n > 10000 && size > n / 50) {  // shuffle only the tail that is taken
    out.resize(static_cast<size_t>(n));
    std::iota(out.begin(), out.end(), int64_t{0});
    shuffle(n, std::max<int64_t>(n - size, 1));
    out.erase(out.begin(), out.end() - size);
    return;
  }
  // Floyd's algorithm: each draw that is taken already is replaced by the upper bound.
  out.clear();
  uint64_t set_size = std::bit_ceil(static_cast<uint64_t>(1.2 * static_cast<double>(size)) + 1);
  uint64_t mask = set_size - 1;
  std::vector<int64_t> taken(set_size, -1);
  auto slot = [&](int64_t value) -> int64_t& {
    uint64_t at = static_cast<uint64_t>(value) & mask;
    while (taken[at] != -1 && taken[at] != value) at = (at + 1) & mask;
    return taken[at];
  };
  for (int64_t j = n - size; j < n; ++j) {
    auto value = static_cast<int64_t>(bounded(static_cast<uint64_t>(j)));
    if (slot(value) == value) value = j;
    slot(value) = value;
    out.push_back(value);
  }
  shuffle(size, 1);
}

}  // namespace trm
