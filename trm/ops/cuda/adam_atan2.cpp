#include "trm/ops/cuda/cuda_ops.h"
#include "trm/ops/cuda/primitive.h"

namespace trm::ops::cuda {
namespace {

// p, m, v, g, average if any, then decay, step_size and inv_sqrt_bias2 unless they are constants
// -> p, m, v, average
class AdamATan2 : public GpuPrimitive {
 public:
  explicit AdamATan2(const AdamConstants& constants) : constants_(constants) {}
  const char* name() const override { return "AdamATan2"; }

  void run(const Arrays& in, Arrays& out) override {
    auto& encoder = mx::cu::get_command_encoder(stream());
    for (size_t i = 0; i < out.size(); ++i) allocate_over(in[i < 3 ? i : 4], out[i], encoder);
    auto number = [](const mx::array& a) { return pointer<float>(a); };
    bool averages = out.size() > 3;
    size_t first = averages ? 5 : 4;
    bool given = in.size() > first;
    AdamArrays arrays{number(in[0]),
                      number(in[3]),
                      number(in[1]),
                      number(in[2]),
                      given ? number(in[first]) : nullptr,
                      given ? number(in[first + 1]) : nullptr,
                      given ? number(in[first + 2]) : nullptr,
                      averages ? number(in[4]) : nullptr,
                      number(out[0]),
                      number(out[1]),
                      number(out[2]),
                      averages ? number(out[3]) : nullptr};
    record(encoder, in, out, nullptr, [&](cudaStream_t stream) {
      cuda::adam_atan2(arrays, constants_, static_cast<int64_t>(in[0].size()), stream);
    });
  }

 private:
  AdamConstants constants_;
};

mx::array floats(const mx::array& a) { return mx::contiguous(mx::astype(a, mx::float32)); }

}  // namespace

bool handles_adam_atan2(const mx::array& p) { return portable_available() && p.size() > 0; }

Arrays adam_atan2(const mx::array& p, const mx::array& g, const mx::array& m, const mx::array& v,
                  const std::optional<mx::array>& average, const AdamScalars& s) {
  Arrays in{floats(p), floats(m), floats(v), floats(g)};
  if (average) in.push_back(floats(*average));
  size_t outputs = average ? 4 : 3;
  AdamConstants constants{s.one_minus_beta1, s.one_minus_beta2, s.rate, s.one_minus_rate, 0, 0, 0};
  // Read here, the device need not fetch them from the host's memory.
  auto known = [](const mx::array& a) {
    return !a.is_tracer() && a.status() == mx::array::Status::available;
  };
  if (known(s.decay) && known(s.step_size) && known(s.inv_sqrt_bias2)) {
    constants.decay = s.decay.item<float>();
    constants.step_size = s.step_size.item<float>();
    constants.inv_sqrt_bias2 = s.inv_sqrt_bias2.item<float>();
  } else {
    in.insert(in.end(), {s.decay, s.step_size, s.inv_sqrt_bias2});
  }
  return mx::array::make_arrays(std::vector<mx::Shape>(outputs, p.shape()),
                                std::vector<mx::Dtype>(outputs, mx::float32),
                                std::make_shared<AdamATan2>(constants), in);
}

}  // namespace trm::ops::cuda
