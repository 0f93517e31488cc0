// Tensors that reach where they must not, see hostile.h.
#include "tests/checkpoint/hostile.h"

namespace trm {
namespace {

using namespace hostile;

std::vector<Attack> tensor_attacks() {
  auto with = [](int64_t count, int64_t offset, std::vector<int64_t> shape,
                 std::vector<int64_t> strides, const std::string& type = "FloatStorage") {
    return [=] { return torch_file(dict_of(tensor(count, offset, shape, strides, type))); };
  };
  auto call = [](const std::string& name, const std::string& arguments) {
    return
        [=] { return torch_file(dict_of(global("torch._utils", name) + "(" + arguments + "tR")); };
  };
  int64_t huge = int64_t{1} << 62;
  return {
      {"negative_stride", with(4, 0, {4}, {-1}), "strides holds -1"},
      {"negative_size", with(4, 0, {-4}, {1}), "shape holds -4"},
      {"negative_offset", with(4, -1, {4}, {1}), "offset is -1"},
      {"past_the_storage", with(4, 1, {4}, {1}), "element 4 is needed"},
      {"far_stride", with(4, 0, {2, 2}, {1, 3}), "element 4 is needed"},
      {"stride_count", with(4, 0, {4}, {1, 1}), "1 dimensions but 2 strides"},
      {"size_overflow", with(4, 0, {huge, huge, 4}, {0, 0, 1}), "overflows"},
      {"size_overflow_with_zero", with(4, 0, {huge, huge, 0}, {0, 0, 1}), "overflows"},
      {"place_overflow", with(4, 0, {3, 3}, {huge, huge}), "overflows"},
      {"expand_to_terabytes", with(4, 0, {1 << 20, 1 << 20, 4}, {0, 0, 1}), "--max-tensor-bytes"},
      {"expand_to_gigabytes", with(4, 0, {1 << 20, 1 << 10, 4}, {0, 0, 1}), "--max-expansion"},
      {"rank", with(4, 0, std::vector<int64_t>(100, 1), std::vector<int64_t>(100, 1)),
       "--max-rank"},
      {"storage_count", with(5, 0, {4}, {1}), "the pickle asks for 5"},
      {"storage_count_wraps", with(huge + 4, 0, {4}, {1}), "overflows"},
      {"storage_count_negative", with(-4, 0, {4}, {1}), "storage"},
      {"unknown_storage", with(4, 0, {4}, {1}, "QUInt4x2Storage"),
       "QUInt4x2Storage cannot be converted"},
      {"missing_storage",
       [] {
         return torch_file(
             replaced(dict_of(tensor(4, 0, {4}, {1})), text("0"), text("../../etc/passwd")));
       },
       "not in the archive"},
      {"quantized_axis",
       call("_rebuild_qtensor", storage_id("QInt8Storage", "0", 16) + integer(0) + ints({4}) +
                                    ints({1}) + "(" + global("torch", "per_channel_affine") +
                                    tensor(4, 0, {4}, {1}) + tensor(4, 0, {4}, {1}) + integer(7) +
                                    "t\x89N"),
       "axis is 7"},
      {"quantized_scales_too_few",
       call("_rebuild_qtensor", storage_id("QInt8Storage", "0", 16) + integer(0) + ints({4, 4}) +
                                    ints({4, 1}) + "(" + global("torch", "per_channel_affine") +
                                    tensor(4, 0, {2}, {1}) + tensor(4, 0, {2}, {1}) + integer(0) +
                                    "t\x89N"),
       "for 4 channels"},
      {"quantized_strides",
       call("_rebuild_qtensor", storage_id("QInt8Storage", "0", 16) + integer(0) + ints({4, 4}) +
                                    ints({400, 1}) + "(" + global("torch", "per_tensor_affine") +
                                    "G" + std::string(8, '\0') + integer(0) + "t\x89N"),
       "is needed"},
      {"sparse_index",
       call("_rebuild_sparse_tensor", text("torch.sparse_coo") + "(" +
                                          tensor(2, 0, {1, 1}, {1, 1}, "LongStorage") +
                                          tensor(4, 0, {1}, {1}) + ints({3}) + "t"),
       ""},
      {"sparse_bomb",
       [] {
         return torch_file(dict_of(
             global("torch._utils", "_rebuild_sparse_tensor") + "(" +
             global("torch", "sparse_coo") + "(" + tensor(2, 0, {1, 0}, {1, 1}, "LongStorage") +
             tensor(2, 0, {0}, {1}, "LongStorage") + ints({1 << 30}) + "ttR"));
       },
       "--max-dense-bytes"},
      {"meta",
       call("_rebuild_meta_tensor_no_storage",
            global("torch", "float32") + ints({4}) + ints({1}) + "\x89"),
       "no data in the file"},
      {"wrapper_subclass", call("_rebuild_wrapper_subclass", "N"), "no data in the file"},
  };
}

class HostileTensor : public testing::TestWithParam<Attack> {};

TEST_P(HostileTensor, IsRefused) { expect_refused(GetParam()); }

INSTANTIATE_TEST_SUITE_P(Cases, HostileTensor, testing::ValuesIn(tensor_attacks()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace trm
