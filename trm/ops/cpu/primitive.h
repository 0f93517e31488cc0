// What the MLX primitives of this folder share.
#pragma once

#include <stdexcept>
#include <string>

#include <mlx/backend/cpu/encoder.h>
#include <mlx/primitives.h>

#include "trm/mlx.h"

namespace trm::ops::cpu {

/// A primitive of the CPU whose work is one call on its stream's thread. Its inputs are row-major.
class CpuPrimitive : public mx::Primitive {
 public:
  CpuPrimitive() : mx::Primitive(mx::default_stream(mx::Device::cpu)) {}
  void eval_gpu(const Arrays&, Arrays&) override {
    throw std::runtime_error(std::string("[ops] ") + name() + " runs on the CPU only");
  }

 protected:
  static void allocate(Arrays& outputs) {
    for (auto& out : outputs) out.set_data(mx::allocator::malloc(out.nbytes()));
  }
};

/// A weight as these primitives read it: float32, row-major.
inline mx::array floats(const mx::array& a) { return mx::contiguous(mx::astype(a, mx::float32)); }

}  // namespace trm::ops::cpu
