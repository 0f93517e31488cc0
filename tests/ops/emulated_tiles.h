// The tile instructions that trm/ops/cpu/kernels_amx.cpp uses, in plain C++, so that any processor
// runs its logic. Shapes that the processor would refuse throw.
#pragma once

#include <cstdint>
#include <cstring>
#include <stdexcept>

namespace trm::ops::cpu {
namespace {

struct EmulatedTiles {
  uint8_t config[64];  // as LDTILECFG reads it; palette 0: not configured
  uint8_t data[8][16][64];
};
thread_local EmulatedTiles emulated{};

void require(bool condition, const char* what) {
  if (!condition) throw std::logic_error(what);
}
int tile_height(int t) {
  require(emulated.config[0] == 1, "tiles are not configured");
  return emulated.config[48 + t];
}
int tile_bytes(int t) {
  uint16_t n;
  std::memcpy(&n, emulated.config + 16 + 2 * t, sizeof(n));
  return n;
}

void _tile_loadconfig(const void* config) {
  std::memset(&emulated, 0, sizeof(emulated));
  std::memcpy(emulated.config, config, sizeof(emulated.config));
  for (int t = 0; t < 8; ++t) {
    require(tile_height(t) >= 1 && tile_height(t) <= 16, "a tile has 1 to 16 rows");
    require(tile_bytes(t) >= 4 && tile_bytes(t) <= 64 && tile_bytes(t) % 4 == 0, "bytes of a row");
  }
}
void _tile_release() { std::memset(&emulated, 0, sizeof(emulated)); }
void _tile_zero(int t) {
  tile_height(t);
  std::memset(emulated.data[t], 0, sizeof(emulated.data[t]));
}
void _tile_loadd(int t, const void* from, long stride) {
  _tile_zero(t);
  for (int r = 0; r < tile_height(t); ++r) {
    std::memcpy(emulated.data[t][r], static_cast<const char*>(from) + r * stride, tile_bytes(t));
  }
}
void _tile_stored(int t, void* to, long stride) {
  for (int r = 0; r < tile_height(t); ++r) {
    std::memcpy(static_cast<char*>(to) + r * stride, emulated.data[t][r], tile_bytes(t));
  }
}
float tile_bfloat16(int t, int row, int i) {
  uint32_t bits = 0;
  std::memcpy(reinterpret_cast<char*>(&bits) + 2, emulated.data[t][row] + 2 * i, 2);
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}
void _tile_dpbf16ps(int c, int a, int b) {
  require(tile_height(c) == tile_height(a) && tile_bytes(c) == tile_bytes(b) &&
              tile_bytes(a) == 4 * tile_height(b),
          "tiles of a product do not match");
  const int columns = tile_bytes(c) / 4, words = tile_height(b);
  float right[16][2][16] = {};  // of each word its even and its odd element, by columns
  for (int k = 0; k < words; ++k) {
    for (int n = 0; n < columns; ++n) {
      for (int i = 0; i < 2; ++i) right[k][i][n] = tile_bfloat16(b, k, 2 * n + i);
    }
  }
  for (int m = 0; m < tile_height(c); ++m) {
    float even[16] = {}, odd[16] = {}, sums[16];
    for (int k = 0; k < words; ++k) {
      const float x = tile_bfloat16(a, m, 2 * k), y = tile_bfloat16(a, m, 2 * k + 1);
      for (int n = 0; n < 16; ++n) even[n] += x * right[k][0][n];
      for (int n = 0; n < 16; ++n) odd[n] += y * right[k][1][n];
    }
    std::memcpy(sums, emulated.data[c][m], sizeof(sums));
    for (int n = 0; n < columns; ++n) sums[n] += even[n] + odd[n];
    std::memcpy(emulated.data[c][m], sums, sizeof(sums));
  }
}

void _tile_dpbssd(int c, int a, int b) {
  require(tile_height(c) == tile_height(a) && tile_bytes(c) == tile_bytes(b) &&
              tile_bytes(a) == 4 * tile_height(b),
          "tiles of a product do not match");
  int32_t right[64][16];
  for (int k = 0; k < tile_bytes(a); ++k) {
    for (int n = 0; n < 16; ++n) {
      right[k][n] = static_cast<int8_t>(emulated.data[b][k / 4][4 * n + k % 4]);
    }
  }
  for (int m = 0; m < tile_height(c); ++m) {
    int32_t sums[16];
    std::memcpy(sums, emulated.data[c][m], sizeof(sums));
    for (int k = 0; k < tile_bytes(a); ++k) {
      const int32_t x = static_cast<int8_t>(emulated.data[a][m][k]);
      for (int n = 0; n < 16; ++n) sums[n] += x * right[k][n];
    }
    std::memcpy(emulated.data[c][m], sums, sizeof(sums));
  }
}

}  // namespace
}  // namespace trm::ops::cpu
