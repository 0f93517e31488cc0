#include "trm/train/memory.h"

#include <algorithm>
#include <fstream>

#include <unistd.h>

#include "trm/ops/cpu/cpu.h"
#include "trm/ops/ops.h"

namespace trm {

namespace {

constexpr int64_t kProgram = 120 << 20, kProgramAndCuda = 1 << 30;

/// How often one step applies each network with a gradient, and all networks together.
struct Applications {
  int64_t of_each, of_all, layers;
};

Applications applications(const ArchConfig& c) {
  switch (c.kind) {
    case ModelKind::hrm:
      return {1, 2, std::max(c.H_layers, c.L_layers)};
    case ModelKind::transformers_baseline:
      return {1, 1, c.H_layers};
    default:
      return {c.L_cycles + 1, c.L_cycles + 1, c.L_layers};
  }
}

enum class Operations { plain, cpu, cuda };

Operations operations(const ArchConfig& c) {
  if (!ops::fused_enabled() || c.forward_dtype == "float16") return Operations::plain;
  if (mx::default_device() == mx::Device::cpu) {
    bool fits = c.mlp_t || ops::cpu::takes_heads(c.hidden_size / c.num_heads);
    return fits ? Operations::cpu : Operations::plain;
  }
#ifdef TRM_CUDA
  if (c.forward_dtype == "bfloat16") return Operations::cuda;
#endif
  return Operations::plain;
}

/// Numbers a token that one layer keeps for its gradient.
double numbers_of_layer(const ArchConfig& c, int64_t tokens) {
  double D = c.hidden_size, inner = swiglu_inner(c.hidden_size, c.expansion);
  double mixed = c.mlp_t ? D * swiglu_inner(static_cast<int>(tokens), c.expansion) / tokens : 0;
  double scores = static_cast<double>(c.num_heads) * tokens;
  switch (operations(c)) {
    case Operations::cpu:  // outputs of the two operations and their gradients; what attention
                           // mixed
      return c.mlp_t ? 4 * D : 5 * D;
    case Operations::cuda:  // outputs of the two operations; gate and up; q, k, v and what they mix
      return (c.mlp_t ? 2 : 6) * D + 2 * inner;
    default:
      return 1.6 * (3 * D + 4 * inner + (c.mlp_t ? 3 * D + 4 * mixed : 8 * D + 2 * scores));
  }
}

/// Whether a cycle with its gradient is one operation (ops::recursion).
bool is_one_operation(const ArchConfig& c) {
  return c.kind == ModelKind::trm && operations(c) == Operations::cpu;
}

/// Numbers a token that such an operation keeps of one layer: the outputs of both its parts, and
/// gates and ups or what attention mixed.
double numbers_of_cycle(const ArchConfig& c) {
  double D = c.hidden_size;
  return c.mlp_t ? 2 * D + 2 * swiglu_inner(c.hidden_size, c.expansion) : 3 * D;
}

}  // namespace

int64_t step_bytes(const Model& model, int64_t rows) {
  const auto& c = model.config;
  auto a = applications(c);
  int64_t tokens = model.tokens(), D = c.hidden_size;
  int64_t size = c.forward_dtype == "float32" ? 4 : 2;
  // What goes into a network is kept too: z + injection; computed anew, both and their gradients.
  bool one_operation = is_one_operation(c) && !model.io().context.recompute;
  double of_layer = one_operation ? numbers_of_cycle(c) : numbers_of_layer(c, tokens);
  double network = D + static_cast<double>(a.layers) * of_layer;
  double numbers = model.io().context.recompute ? network + 4.0 * D * a.of_all : network * a.of_all;
  if (operations(c) == Operations::cuda) {  // scratch memory, and what MLX still holds meanwhile
    numbers += 22.0 * D + 3.0 * swiglu_inner(c.hidden_size, c.expansion);
  }
  if (model.uses_q_continue()) numbers += network;  // the step ahead that q_continue learns from
  double kept = static_cast<double>(rows * tokens * size) * numbers;
  // Every application of a network gives gradients of all its weights, which are added up later;
  // one operation adds them up itself.
  int64_t copies = one_operation ? 2 : a.of_each + 1;
  int64_t gradients = 0;
  visit(model, [&](const std::string& name, const mx::array& leaf, bool trained) {
    bool repeated = name.find(".layers.") != std::string::npos;
    if (trained) {
      gradients += static_cast<int64_t>(leaf.nbytes()) * (repeated ? copies : 2);
    }
  });
  int64_t logits = rows * model.shape.seq_len * model.shape.vocab_size * 12;
  int64_t program = mx::default_device() == mx::Device::gpu ? kProgramAndCuda : kProgram;
  return static_cast<int64_t>(kept) + gradients + logits + program;
}

int64_t memory_of_device() {
  if (mx::default_device() == mx::Device::gpu) {
    return static_cast<int64_t>(mx::get_memory_limit());
  }
  int64_t bytes = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGE_SIZE);
  int64_t limit = 0;
  if (std::ifstream file("/sys/fs/cgroup/memory.max"); file >> limit && limit > 0) {
    bytes = std::min(bytes, limit);
  }
  return bytes;
}

}  // namespace trm
