// Times every CUDA kernel and library call of a layer at the sizes of the trainings, by events on
// the device: cuda_kernels [--sustained] [part of a name]...
// A few calls on a cool device say how fast a kernel can be. Half a second of them says what it
// takes within a step, at the clock that the power limit leaves, and the energy of a call.
#include <algorithm>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include <cuda_runtime.h>
#include <fmt/format.h>

#include "benchmarks/cuda_energy.h"
#include "trm/ops/cuda/device.h"
#include "trm/ops/cuda/matmul.h"
#include "trm/ops/cuda/sdpa.h"

namespace {

using namespace trm::ops::cuda;

cudaStream_t stream;
std::vector<std::string> filters;
bool sustained = false;

void* device_memory(size_t bytes, bool floats) {
  static std::vector<uint16_t> halves;
  static std::vector<float> singles;
  if (halves.empty()) {
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    for (int i = 0; i < 1 << 22; ++i) {
      singles.push_back(normal(random) * 0.5f);
      uint32_t bits;
      std::memcpy(&bits, &singles.back(), 4);
      halves.push_back(static_cast<uint16_t>(bits >> 16));
    }
  }
  char* memory = nullptr;
  check(cudaMalloc(&memory, bytes), "memory");
  const void* from = floats ? static_cast<const void*>(singles.data()) : halves.data();
  size_t piece = std::min(bytes, floats ? singles.size() * 4 : halves.size() * 2);
  check(cudaMemcpy(memory, from, piece, cudaMemcpyHostToDevice), "fill");
  for (size_t at = piece; at < bytes; at += piece) {
    check(cudaMemcpy(memory + at, memory, std::min(piece, bytes - at), cudaMemcpyDeviceToDevice),
          "fill");
  }
  return memory;
}

half* halves(int64_t count) {
  return static_cast<half*>(device_memory(static_cast<size_t>(count) * 2, false));
}
float* floats(int64_t count) {
  return static_cast<float*>(device_memory(static_cast<size_t>(count) * 4, true));
}

void print(const std::string& name, double ms, double gflop, double megabytes) {
  fmt::print("{:<34} {:7.4f} ms", name, ms);
  if (gflop > 0) fmt::print(" {:6.0f} TFLOP/s", gflop / ms);
  if (megabytes > 0) fmt::print(" {:6.2f} TB/s", megabytes / ms / 1e3);
}

double milliseconds(cudaEvent_t begin, cudaEvent_t end) {
  float ms = 0;
  check(cudaEventElapsedTime(&ms, begin, end), "event");
  return static_cast<double>(ms);
}

// Pieces of about 10 ms, of which six are always under way. `busy` is the part of the time in which
// a piece ran: below 100 % the device waited for the host, and power and clock say little.
void sustain(const std::string& name, double burst_ms, double gflop, double megabytes,
             const std::function<void()>& run) {
  constexpr double piece_ms = 10, warm_up = 150, measured = 600;
  constexpr size_t under_way = 6;
  static EnergyMeter meter;
  struct Piece {
    cudaEvent_t begin, end;
  };
  std::vector<Piece> pieces;
  auto calls = std::max(1, static_cast<int>(piece_ms / burst_ms));
  auto warm = static_cast<size_t>(warm_up / (calls * burst_ms)) + 1;
  auto last = warm + static_cast<size_t>(measured / (calls * burst_ms)) + 1;
  while (pieces.size() < last) {
    if (pieces.size() == warm) meter.start();
    auto& piece = pieces.emplace_back();
    check(cudaEventCreate(&piece.begin), "event");
    check(cudaEventCreate(&piece.end), "event");
    check(cudaEventRecord(piece.begin, stream), "event");
    for (int i = 0; i < calls; ++i) run();
    check(cudaEventRecord(piece.end, stream), "event");
    if (pieces.size() > under_way) {
      check(cudaEventSynchronize(pieces[pieces.size() - under_way].end), name.c_str());
    }
  }
  check(cudaStreamSynchronize(stream), name.c_str());
  meter.stop();
  double all = milliseconds(pieces[warm].begin, pieces.back().end), busy = 0;
  for (size_t i = warm; i < last; ++i) busy += milliseconds(pieces[i].begin, pieces[i].end);
  for (auto& piece : pieces) {
    check(cudaEventDestroy(piece.begin), "event");
    check(cudaEventDestroy(piece.end), "event");
  }
  double ms = all / static_cast<double>((last - warm) * static_cast<size_t>(calls));
  double joule = meter.watts() * ms / 1e3;
  print(name, ms, gflop, megabytes);
  fmt::print(" | burst {:7.4f} | busy {:5.1f} % {:4.0f} W {:4.0f} MHz {:7.4f} J", burst_ms,
             busy / all * 100, meter.watts(), meter.mhz(), joule);
  if (gflop > 0) fmt::print(" {:5.3f} J/TFLOP", joule / gflop * 1e3);
  if (megabytes > 0) fmt::print(" {:6.3f} J/GB", joule / megabytes * 1e3);
  fmt::print("\n");
}

// gflop and megabytes as counted by hand, for the rates.
void time(const std::string& name, double gflop, double megabytes,
          const std::function<void()>& run) {
  auto fits = [&](const std::string& part) { return name.find(part) != std::string::npos; };
  if (!filters.empty() && std::none_of(filters.begin(), filters.end(), fits)) return;
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin), "event");
  check(cudaEventCreate(&end), "event");
  std::vector<double> times;
  for (int i = 0; i < 14; ++i) {
    check(cudaEventRecord(begin, stream), "event");
    for (int j = 0; j < 4; ++j) run();
    check(cudaEventRecord(end, stream), "event");
    check(cudaEventSynchronize(end), name.c_str());
    if (i >= 4) times.push_back(milliseconds(begin, end) / 4);
  }
  check(cudaEventDestroy(begin), "event");
  check(cudaEventDestroy(end), "event");
  std::nth_element(times.begin(), times.begin() + 5, times.end());
  if (sustained) {
    sustain(name, times[5], gflop, megabytes, run);
  } else {
    print(name, times[5], gflop, megabytes);
    fmt::print("\n");
  }
  std::fflush(stdout);
}

// What the device can do: a product that the library does best, and a copy.
void yardsticks() {
  constexpr int64_t side = 8192, bytes = int64_t{1} << 31;
  auto *from = halves(bytes / 2), *to = halves(bytes / 2);
  auto* work = device_memory(kMatmulScratch, false);
  time("product of 8192 x 8192 x 8192", 2.0 * side * side * side / 1e9, 0, [&] {
    matmul(side, side, side, {from}, {to, true}, nullptr, to + side * side, false, work, stream);
  });
  time("copy of 2 GB", 0, 2 * static_cast<double>(bytes) / 1e6,
       [&] { cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream); });
  for (void* memory : {static_cast<void*>(from), static_cast<void*>(to), work}) {
    check(cudaFree(memory), "free");
  }
}

void layer(const char* what, int batch, int tokens) {
  int64_t rows = static_cast<int64_t>(batch) * tokens;
  constexpr int width = 512, inner = 1536;
  double mrows = static_cast<double>(rows) / 1e6;
  auto gflop = [&](double a, double b) { return mrows * a * b * 2 / 1e3; };  // of a rows x a x b
  auto mb = [&](double columns) { return mrows * columns * 2; };             // bfloat16
  auto name = [&](const char* kernel) { return fmt::format("{} {}", what, kernel); };
  auto *x = halves(rows * width), *y = halves(rows * width), *ds = halves(rows * width);
  auto *p = halves(rows * inner), *dp = halves(rows * inner);
  auto *gu = halves(rows * 2 * inner), *dgu = halves(rows * 2 * inner);
  auto* r = floats(rows);
  auto *wgu = halves(2 * inner * width), *wd = halves(width * inner);
  auto *dwgu = floats(2 * inner * width), *dwd = floats(width * inner);
  auto* work = device_memory(kMatmulScratch, false);

  time(name("swiglu"), gflop(width, 2 * inner), mb(width + inner),
       [&] { swiglu(x, wgu, p, nullptr, rows, inner, stream); });
  time(name("swiglu saving"), gflop(width, 2 * inner), mb(width + 3 * inner),
       [&] { swiglu(x, wgu, p, gu, rows, inner, stream); });
  time(name("down + residual"), gflop(width, inner), mb(inner + 2 * width), [&] {
    matmul(rows, width, inner, {p}, {wd, true}, x, y, false, work, stream);
  });
  time(name("down + residual + rms"), gflop(width, inner), mb(inner + 2 * width),
       [&] { product_norm(p, wd, x, y, r, rows, inner, 1e-5f, stream); });
  time(name("rms"), 0, mb(2 * width), [&] { rms_rows(y, r, rows, width, 1e-5f, stream); });
  time(name("rms backward"), 0, mb(3 * width),
       [&] { rms_rows_backward(y, x, r, ds, rows, width, stream); });
  SwigluGradientMaps gradient{
      tensor_map(ds, {rows, width}, {128, 64}), tensor_map(wd, {width, inner}, {64, 64}),
      tensor_map(gu, {rows, 2 * inner}, {64, 64}), tensor_map(dgu, {rows, 2 * inner}, {64, 64}),
      tensor_map(p, {rows, inner}, {64, 64})};
  time(name("swiglu gradient"), gflop(width, inner), mb(width + 5 * inner),
       [&] { swiglu_gradient(gradient, rows, inner, processors(), stream); });
  time(name("dh"), gflop(width, 2 * inner), mb(2 * inner + 2 * width),
       [&] { matmul(rows, width, 2 * inner, {dgu}, {wgu}, ds, y, false, work, stream); });
  time(name("dgate_up"), gflop(width, 2 * inner), mb(2 * inner + width), [&] {
    matmul(2 * inner, width, rows, {dgu, true}, {x}, nullptr, dwgu, true, work, stream);
  });
  time(name("ddown"), gflop(width, inner), mb(inner + width), [&] {
    matmul(width, inner, rows, {ds, true}, {p}, nullptr, dwd, true, work, stream);
  });

  // Attention: 8 heads of 64.
  SdpaShape shape{batch, tokens, 8, 64};
  double sdpa_gflop = static_cast<double>(batch) * 8 * tokens * tokens * 64 * 4 / 1e9;
  auto* stats = floats(rows * 8);
  auto *cos = floats(tokens * 32), *sin = floats(tokens * 32);
  auto* sdpa_work = device_memory(std::max({sdpa_scratch(shape, false), sdpa_scratch(shape, true),
                                            sdpa_backward_scratch(shape), size_t{1}}),
                                  false);
  time(name("qkv"), gflop(width, 3 * width), mb(4 * width), [&] {
    matmul(rows, 3 * width, width, {x}, {wgu, true}, nullptr, p, false, work, stream);
  });
  time(name("qkv rotated"), gflop(width, 3 * width), mb(4 * width),
       [&] { project_qkv(x, wgu, p, cos, sin, rows, tokens, 3 * width, stream); });
  auto tokens_map = [&](const half* data, int columns, int box) {
    return tensor_map(data, {batch, tokens, columns}, {1, box, 64});
  };
  LongAttentionMaps attention{tokens_map(dp, 3 * width, 64), tokens_map(dp, 3 * width, 96),
                              tokens_map(y, width, 64)};
  time(name("long attention"), sdpa_gflop, mb(4 * width),
       [&] { long_attention(attention, stats, batch, tokens, 8, processors(), stream); });
  time(name("rotate"), 0, mb(4 * width),
       [&] { rotate(dp, cos, sin, rows, tokens, 8, 64, false, stream); });
  time(name("sdpa"), sdpa_gflop, mb(4 * width),
       [&] { sdpa(shape, dp, y, nullptr, sdpa_work, stream); });
  time(name("sdpa saving"), sdpa_gflop, mb(4 * width),
       [&] { sdpa(shape, dp, y, stats, sdpa_work, stream); });
  time(name("o + residual"), gflop(width, width), mb(3 * width), [&] {
    matmul(rows, width, width, {y}, {wd, true}, x, ds, false, work, stream);
  });
  time(name("o + residual + rms"), gflop(width, width), mb(3 * width),
       [&] { product_norm(dp, wd, x, ds, r, rows, width, 1e-5f, stream); });
  time(name("dmixed"), gflop(width, width), mb(2 * width),
       [&] { matmul(rows, width, width, {ds}, {wd}, nullptr, x, false, work, stream); });
  time(name("do"), gflop(width, width), mb(2 * width), [&] {
    matmul(width, width, rows, {ds, true}, {y}, nullptr, dwd, true, work, stream);
  });
  time(name("sdpa backward"), 2.5 * sdpa_gflop, mb(8 * width),
       [&] { sdpa_backward(shape, dp, y, stats, x, p, sdpa_work, stream); });
  auto gradient_map = [&](const half* data, int columns) {
    return tensor_map(data, {batch, tokens, columns}, {1, 64, 64});
  };
  LongAttentionGradientMaps attention_gradient{gradient_map(dp, 3 * width), gradient_map(y, width),
                                               gradient_map(x, width), gradient_map(p, 3 * width)};
  auto* rows_work = device_memory(long_attention_gradient_scratch(batch, tokens, 8), false);
  time(name("long attention backward"), 2.5 * sdpa_gflop, mb(8 * width), [&] {
    long_attention_gradient(attention_gradient, cos, sin, stats, rows_work, batch, tokens, 8,
                            processors(), stream);
  });
  time(name("attention dh"), gflop(width, 3 * width), mb(5 * width),
       [&] { matmul(rows, width, 3 * width, {p}, {wgu}, ds, y, false, work, stream); });
  time(name("dqkv"), gflop(width, 3 * width), mb(4 * width), [&] {
    matmul(3 * width, width, rows, {p, true}, {x}, nullptr, dwgu, true, work, stream);
  });

  if (tokens <= kTokensMax) {
    auto map = [&](const half* data, int columns, int box) {
      return tensor_map(data, {batch, tokens, columns}, {1, box, 64});
    };
    ShortAttentionMaps maps{map(dp, 3 * width, kTokensPadded), map(y, width, kTokensPadded),
                            map(x, width, kTokensPadded), map(p, 3 * width, 64)};
    time(name("short attention"), sdpa_gflop, mb(4 * width),
         [&] { short_attention(maps, stats, batch, tokens, 8, stream); });
    time(name("short attention backward"), 2.5 * sdpa_gflop, mb(8 * width),
         [&] { short_attention_backward(maps, cos, sin, stats, batch, tokens, 8, stream); });
    constexpr int inner_t = 512;
    auto columns = [&](const half* data) {
      return tensor_map(data, {batch, tokens, width}, {1, kTokensPadded, 64});
    };
    TokenMaps t{tensor_map(wgu, {2 * inner_t, kGateUpPadded}, {64, 64}),
                tensor_map(wd, {kTokensPadded, inner_t}, {kTokensPadded, 64}), columns(x),
                columns(y), columns(ds)};
    auto* partial = floats(2 * kTokenSplits * 3 * inner_t * kTokensMax);
    auto* scales = floats(static_cast<int64_t>(batch) * width);
    time(name("token forward"), gflop(width, 3 * inner_t), mb(2 * width), [&] {
      token_mixing(t, nullptr, batch, tokens, width, inner_t, 1e-5f, processors(), stream);
    });
    time(name("token rms backward"), 0, mb(3 * width),
         [&] { rms_tokens_backward(y, x, scales, ds, batch, tokens, width, stream); });
    time(name("token input gradient"), gflop(width, 5 * inner_t), mb(3 * width),
         [&] { token_mixing_input_gradient(t, batch, width, inner_t, processors(), stream); });
    time(name("token weight gradient"), gflop(width, 6 * inner_t), mb(2 * width),
         [&] { token_mixing_weight_gradient(t, partial, batch, width, inner_t, stream); });
    time(name("token sum"), 0, 0,
         [&] { token_mixing_sum_partials(partial, dwgu, dwd, tokens, inner_t, stream); });
  }
}

}  // namespace

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    std::string argument = argv[i];
    argument == "--sustained" ? void(sustained = true) : filters.push_back(argument);
  }
  check(cudaStreamCreate(&stream), "stream");
  yardsticks();
  layer("sudoku", 768, 97);
  layer("maze", 192, 916);
}
