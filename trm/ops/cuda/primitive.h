// A primitive that only runs on the GPU.
#pragma once

#include <stdexcept>
#include <string>

#include "mlx/primitives.h"
#include "trm/mlx.h"
#include "trm/ops/cuda/device.h"

namespace trm::ops::cuda {

class GpuPrimitive : public mx::Primitive {
 public:
  GpuPrimitive() : mx::Primitive(mx::default_stream(mx::default_device())) {}
  void eval_gpu(const Arrays& in, Arrays& out) final {
    auto& encoder = mx::cu::get_command_encoder(stream());
    if (out[0].is_tracer()) return run(in, out);  // somebody may ask for its gradient later
    // Each output holds every input; here one alone does, so that what nobody else holds can be
    // overwritten, and in the end none. MLX would hold the inputs until the device is done.
    for (auto& o : out) {
      if (&o.inputs() != &in) o.inputs().clear();
    }
    run(in, out);
    for (auto& a : in) let_go(a, out, encoder);
    for (auto& o : out) o.inputs().clear();
  }
  void eval_cpu(const Arrays&, Arrays&) override {
    throw std::runtime_error(std::string("[cuda] ") + name() + " runs on the GPU only");
  }

 protected:
  /// Allocates the outputs and records the work.
  virtual void run(const Arrays& in, Arrays& out) = 0;
};

/// A forward primitive whose outputs after the first are only for its gradient: `keeps` tells it to
/// make them, which vjp says before the (lazy) evaluation. Arguments of an evaluated forward are
/// computed again.
class Saving : public GpuPrimitive {
 public:
  /// The outputs that the gradient needs, of this primitive or, if it ran without keeping them, of
  /// a new one.
  Arrays saved_outputs(const Arrays& primals, const Arrays& outputs) {
    if (keeps || outputs[0].status() == mx::array::Status::unscheduled) {
      keeps = true;
      return outputs;
    }
    auto again = copy();
    again->keeps = true;
    std::vector<mx::Shape> shapes;
    std::vector<mx::Dtype> dtypes;
    for (auto& o : outputs) shapes.push_back(o.shape()), dtypes.push_back(o.dtype());
    return mx::array::make_arrays(shapes, dtypes, again, primals);
  }

  bool keeps = false;

 protected:
  virtual std::shared_ptr<Saving> copy() const = 0;
};

inline Arrays pick(const Arrays& all, const std::vector<int>& which) {
  Arrays picked;
  for (int i : which) picked.push_back(all[static_cast<size_t>(i)]);
  return picked;
}

}  // namespace trm::ops::cuda
