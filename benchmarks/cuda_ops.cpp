// Times the fused operations on a GPU at the sizes of the three trainings: one line an operation,
// in milliseconds, medians over repeated chains. TRM_OPS=reference times the compositions instead.
#include <algorithm>
#include <chrono>
#include <functional>

#include <fmt/format.h>

#include "trm/ops/ops.h"

namespace {

using trm::Arrays;
namespace mx = trm::mx;
using Op = std::function<mx::array(const mx::array&, const Arrays&)>;

double median_ms(int repeats, const std::function<void()>& run) {
  std::vector<double> times;
  for (int i = 0; i < repeats + 3; ++i) {
    mx::synchronize();
    auto start = std::chrono::steady_clock::now();
    run();
    mx::synchronize();
    std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - start;
    if (i >= 3) times.push_back(time.count());
  }
  std::nth_element(times.begin(), times.begin() + repeats / 2, times.end());
  return times[static_cast<size_t>(repeats / 2)];
}

void report(const char* name, const mx::array& h, const Arrays& weights, const Op& op) {
  constexpr int forward_chain = 20, gradient_chain = 4;
  double forward = median_ms(7,
                             [&] {
                               auto y = h;
                               for (int i = 0; i < forward_chain; ++i) y = op(y, weights);
                               mx::eval(y);
                             }) /
                   forward_chain;
  Arrays inputs = weights;
  inputs.push_back(h);
  double both = median_ms(7,
                          [&] {
                            auto [values, gradients] = mx::vjp(
                                [&](const Arrays& in) {
                                  auto y = in.back();
                                  for (int i = 0; i < gradient_chain; ++i) y = op(y, in);
                                  return Arrays{y};
                                },
                                inputs, {h});
                            gradients.push_back(values[0]);
                            mx::eval(gradients);
                          }) /
                gradient_chain;
  fmt::print("{:<28} forward {:7.3f}   with gradient {:7.3f}\n", name, forward, both);
  std::fflush(stdout);
}

mx::array normal(const mx::Shape& shape, float scale, mx::Dtype dtype) {
  auto a = mx::astype(mx::random::normal(shape) * mx::array(scale), dtype);
  mx::eval(a);
  return a;
}

}  // namespace

int main() {
  mx::set_default_device(mx::Device::gpu);
  auto sudoku = normal({768, 97, 512}, 1, mx::bfloat16),
       maze = normal({192, 916, 512}, 1, mx::bfloat16);
  Arrays channel = {normal({3072, 512}, 0.06f, mx::float32),
                    normal({512, 1536}, 0.04f, mx::float32)};
  Arrays token = {normal({1024, 97}, 0.1f, mx::float32), normal({97, 512}, 0.05f, mx::float32)};
  Arrays attention = {normal({1536, 512}, 0.06f, mx::float32),
                      normal({512, 512}, 0.04f, mx::float32)};
  Op feed_forward = [](auto& h, auto& w) { return trm::ops::feed_forward(h, w[0], w[1], 1e-5f); };
  report("feed_forward sudoku", sudoku, channel, feed_forward);
  report("token_mixing sudoku", sudoku, token,
         [](auto& h, auto& w) { return trm::ops::token_mixing(h, w[0], w[1], 1e-5f); });
  for (auto& [name, h] : {std::pair{"attention sudoku", sudoku}, {"attention maze", maze}}) {
    auto tables = trm::ops::rotary_tables(h.shape(1), 64, 1e4f);
    report(name, h, attention,
           [&](auto& x, auto& w) { return trm::ops::attention(x, w[0], w[1], 8, &tables, 1e-5f); });
  }
  report("feed_forward maze", maze, channel, feed_forward);
}
