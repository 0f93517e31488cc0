#include "trm/train/ranks.h"

#include <cstdlib>
#include <map>
#include <stdexcept>

#include <fmt/format.h>

namespace trm {

Ranks Ranks::join() {
  Ranks ranks;
  bool launched = false;
  for (auto name : {"MLX_RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK"}) {
    launched = launched || std::getenv(name);
  }
  if (!launched) return ranks;
  try {
    ranks.group_ = mx::distributed::init(true);
  } catch (const std::exception& e) {
    throw std::runtime_error(fmt::format(
        "[distributed] cannot join the other processes: {}. See docs/distributed.md", e.what()));
  }
  return ranks;
}

Arrays Ranks::sum(const Arrays& arrays) const {
  if (size() == 1 || arrays.empty()) return arrays;
  std::map<mx::Dtype::Val, std::vector<size_t>> by_type;
  for (size_t i = 0; i < arrays.size(); ++i) by_type[arrays[i].dtype().val()].push_back(i);
  Arrays out = arrays;
  for (auto& [type, members] : by_type) {
    Arrays flat;
    for (size_t i : members) flat.push_back(mx::flatten(arrays[i]));
    auto total = mx::distributed::all_sum(mx::concatenate(flat), group_);
    int at = 0;
    for (size_t i : members) {
      int n = static_cast<int>(arrays[i].size());
      out[i] = mx::reshape(mx::slice(total, {at}, {at + n}), arrays[i].shape());
      at += n;
    }
  }
  return out;
}

mx::array Ranks::gather(const mx::array& array) const {
  if (size() == 1) return array;
  if (array.dtype() == mx::bool_) {  // NCCL has no truth values
    return mx::astype(gather(mx::astype(array, mx::uint8)), mx::bool_);
  }
  return mx::distributed::all_gather(array, group_);
}

std::vector<std::string> Ranks::gather(const std::string& text) const {
  if (size() == 1) return {text};
  if (text.size() > INT32_MAX / static_cast<size_t>(size())) {
    throw std::runtime_error("[distributed] a text is too long to be sent");
  }
  auto lengths = gather(mx::array({static_cast<int>(text.size())}));
  mx::eval(lengths);
  int longest = mx::max(lengths).item<int>();
  if (longest == 0) return std::vector<std::string>(static_cast<size_t>(size()));
  std::string padded = text;
  padded.resize(static_cast<size_t>(longest));
  auto all =
      gather(mx::array(reinterpret_cast<const uint8_t*>(padded.data()), {longest}, mx::uint8));
  mx::eval(all);
  std::vector<std::string> out;
  for (int i = 0; i < size(); ++i) {
    auto from = all.data<char>() + static_cast<ptrdiff_t>(i) * longest;
    out.emplace_back(from, from + lengths.data<int>()[i]);
  }
  return out;
}

mx::array Ranks::part(const mx::array& array) const {
  if (size() == 1) return array;
  int rows = array.shape(0) / size();
  auto start = mx::Shape(array.ndim(), 0);
  auto stop = array.shape();
  start[0] = rank() * rows;
  stop[0] = start[0] + rows;
  return mx::slice(array, start, stop);
}

}  // namespace trm
