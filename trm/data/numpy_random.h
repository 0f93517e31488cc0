// NumPy's two random streams, value for value: the reference builds its data sets from the legacy
// global generator (MT19937) and orders its batches with a Philox generator, so the same bytes and
// the same order need the same streams. Checked against numbers recorded from NumPy.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace trm {

/// `np.random.seed(s)` and what follows it: the legacy global generator.
class NumpyMt19937 {
 public:
  explicit NumpyMt19937(uint32_t seed);

  uint32_t next_uint32();
  /// `rand()`: a float64 in [0, 1) of 53 bits.
  double rand();
  /// `randint(low, high)`: an integer in [low, high); draws nothing when only one value is left.
  /// Needs low < high and a range of at most 2^32 (std::invalid_argument).
  int64_t randint(int64_t low, int64_t high);
  /// `shuffle` of anything indexable of `size` elements through `swap(i, j)`.
  template <class Swap>
  void shuffle(size_t size, Swap&& swap) {
    for (size_t i = size; i-- > 1;) swap(i, interval(static_cast<uint32_t>(i)));
  }
  /// `permutation(n)`: 0..n-1 shuffled.
  std::vector<int32_t> permutation(size_t n);
  /// `permutation(n)` written to `out`, counting from `first`; allocates nothing.
  void permutation_into(uint8_t* out, int n, int first = 0);
  /// `choice(n, size, replace=False)`.
  std::vector<int32_t> choice(size_t n, size_t size);

 private:
  uint32_t interval(uint32_t max);  // uniform in [0, max], by masked rejection
  void refill();

  std::array<uint32_t, 624> state_;
  size_t position_ = 624;
};

/// `np.random.Generator(np.random.Philox(seed=s))`: Philox4x64-10 seeded through SeedSequence.
class NumpyPhilox {
 public:
  /// All of it: what continues a stream exactly.
  struct State {
    std::array<uint64_t, 4> counter{};
    std::array<uint64_t, 2> key{};
    std::array<uint64_t, 4> buffer{};
    uint32_t buffer_position = 4;
    uint32_t has_half = 0;  // whether half_ holds the unused upper half of a 64-bit draw
    uint32_t half = 0;
    bool operator==(const State&) const = default;
  };

  explicit NumpyPhilox(uint64_t seed);
  explicit NumpyPhilox(const State& state) : s_(state) {}
  const State& state() const { return s_; }

  uint64_t next_uint64();
  uint32_t next_uint32();
  /// Uniform in [0, max] (Lemire's method; 32-bit draws where max fits, none for max = 0).
  uint64_t bounded(uint64_t max);
  /// `integers(low, high)`: an integer in [low, high).
  int64_t integers(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(bounded(static_cast<uint64_t>(high - low) - 1));
  }
  /// `random()`: a float64 in [0, 1) of 53 bits.
  double random() { return static_cast<double>(next_uint64() >> 11) * 0x1.0p-53; }
  /// `permutation(n)` into `out`, which is resized to n.
  void permutation(int32_t n, std::vector<int32_t>& out);
  /// Advances the stream as permutation(n) would.
  void skip_permutation(int32_t n);
  /// `choice(n, size, replace=False)` into `out`; needs size <= n.
  void choice(int64_t n, int64_t size, std::vector<int64_t>& out);

 private:
  uint32_t interval(uint32_t max);

  State s_;
};

}  // namespace trm
