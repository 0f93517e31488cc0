// Attention through cuDNN: its flash kernels take any length and our packed layout as strides.
#include "trm/ops/cuda/sdpa.h"

#include <cmath>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>

#include <cudnn_frontend.h>
#include <fmt/format.h>

namespace trm::ops::cuda {
namespace {

namespace fe = cudnn_frontend;
using Tensor = std::shared_ptr<fe::graph::Tensor_attributes>;

enum Id : int64_t { kQ = 1, kK, kV, kO, kStats, kDO, kDQ, kDK, kDV };

struct Plan {
  std::shared_ptr<fe::graph::Graph> graph;
  int64_t scratch = 0;
};

void check(fe::error_t error) {
  if (error.is_good()) return;
  throw std::runtime_error(fmt::format("[cuda] cuDNN attention: {}", error.get_message()));
}

cudnnHandle_t handle() {
  static cudnnHandle_t h = [] {
    cudnnHandle_t made;
    if (cudnnCreate(&made) != CUDNN_STATUS_SUCCESS) {
      throw std::runtime_error("[cuda] cuDNN could not start");
    }
    return made;
  }();
  return h;
}

std::vector<int64_t> dims(const SdpaShape& s) { return {s.batch, s.heads, s.tokens, s.dim}; }

// Strides of one of `parts` tensors packed in a row (3: qkv, 1: the result).
std::vector<int64_t> strides(const SdpaShape& s, int64_t parts) {
  int64_t row = parts * s.heads * s.dim;
  return {s.tokens * row, s.dim, row, 1};
}

Tensor input(fe::graph::Graph& graph, Id id, const SdpaShape& s, int64_t parts) {
  return graph.tensor(
      fe::graph::Tensor_attributes().set_uid(id).set_dim(dims(s)).set_stride(strides(s, parts)));
}

void output(const Tensor& tensor, Id id, const SdpaShape& s, int64_t parts) {
  tensor->set_output(true).set_uid(id).set_dim(dims(s)).set_stride(strides(s, parts));
}

std::shared_ptr<fe::graph::Graph> new_graph() {
  auto graph = std::make_shared<fe::graph::Graph>();
  graph->set_io_data_type(fe::DataType_t::BFLOAT16)
      .set_intermediate_data_type(fe::DataType_t::FLOAT)
      .set_compute_data_type(fe::DataType_t::FLOAT);
  return graph;
}

Plan finish(std::shared_ptr<fe::graph::Graph> graph) {
  check(graph->build(handle(), {fe::HeurMode_t::A}));
  Plan plan{graph, 0};
  check(graph->get_workspace_size(plan.scratch));
  return plan;
}

float scale(const SdpaShape& s) { return 1.0f / std::sqrt(static_cast<float>(s.dim)); }

Plan make_forward(const SdpaShape& s, bool save) {
  auto graph = new_graph();
  auto options = fe::graph::SDPA_attributes().set_generate_stats(save).set_attn_scale(scale(s));
  auto [o, stats] = graph->sdpa(input(*graph, kQ, s, 3), input(*graph, kK, s, 3),
                                input(*graph, kV, s, 3), options);
  output(o, kO, s, 1);
  if (save) stats->set_output(true).set_uid(kStats).set_data_type(fe::DataType_t::FLOAT);
  return finish(graph);
}

Plan make_backward(const SdpaShape& s) {
  auto graph = new_graph();
  auto stats = graph->tensor(fe::graph::Tensor_attributes()
                                 .set_uid(kStats)
                                 .set_dim({s.batch, s.heads, s.tokens, 1})
                                 .set_stride({s.heads * s.tokens, s.tokens, 1, 1})
                                 .set_data_type(fe::DataType_t::FLOAT));
  auto [dq, dk, dv] = graph->sdpa_backward(
      input(*graph, kQ, s, 3), input(*graph, kK, s, 3), input(*graph, kV, s, 3),
      input(*graph, kO, s, 1), input(*graph, kDO, s, 1), stats,
      fe::graph::SDPA_backward_attributes().set_attn_scale(scale(s)));
  output(dq, kDQ, s, 3);
  output(dk, kDK, s, 3);
  output(dv, kDV, s, 3);
  return finish(graph);
}

// kind: 0 forward, 1 forward that saves, 2 backward
Plan& plan(const SdpaShape& shape, int kind) {
  static std::mutex mutex;
  static auto* plans = new std::map<std::pair<SdpaShape, int>, Plan>;
  std::lock_guard lock(mutex);
  auto found = plans->find({shape, kind});
  if (found == plans->end()) {
    auto made = kind == 2 ? make_backward(shape) : make_forward(shape, kind == 1);
    found = plans->emplace(std::pair{shape, kind}, made).first;
  }
  return found->second;
}

void run(Plan& plan, std::unordered_map<int64_t, void*> tensors, void* scratch,
         cudaStream_t stream) {
  if (cudnnSetStream(handle(), stream) != CUDNN_STATUS_SUCCESS) {
    throw std::runtime_error("[cuda] cuDNN does not take the stream");
  }
  check(plan.graph->execute(handle(), tensors, scratch));
}

void* part(const void* qkv, const SdpaShape& s, int64_t i) {
  return const_cast<char*>(static_cast<const char*>(qkv)) + i * s.heads * s.dim * 2;
}

}  // namespace

size_t sdpa_scratch(const SdpaShape& shape, bool save) {
  return static_cast<size_t>(plan(shape, save ? 1 : 0).scratch);
}

size_t sdpa_backward_scratch(const SdpaShape& shape) {
  return static_cast<size_t>(plan(shape, 2).scratch);
}

void sdpa(const SdpaShape& s, const void* qkv, void* out, void* stats, void* scratch,
          cudaStream_t stream) {
  std::unordered_map<int64_t, void*> tensors = {
      {kQ, part(qkv, s, 0)}, {kK, part(qkv, s, 1)}, {kV, part(qkv, s, 2)}, {kO, out}};
  if (stats) tensors[kStats] = stats;
  run(plan(s, stats ? 1 : 0), tensors, scratch, stream);
}

void sdpa_backward(const SdpaShape& s, const void* qkv, const void* out, const void* stats,
                   const void* dout, void* dqkv, void* scratch, cudaStream_t stream) {
  run(plan(s, 2),
      {{kQ, part(qkv, s, 0)},
       {kK, part(qkv, s, 1)},
       {kV, part(qkv, s, 2)},
       {kO, const_cast<void*>(out)},
       {kStats, const_cast<void*>(stats)},
       {kDO, const_cast<void*>(dout)},
       {kDQ, part(dqkv, s, 0)},
       {kDK, part(dqkv, s, 1)},
       {kDV, part(dqkv, s, 2)}},
      scratch, stream);
}

}  // namespace trm::ops::cuda
