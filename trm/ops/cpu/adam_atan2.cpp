// The optimizer's step and the average of the weights in one pass over memory.
#include "trm/ops/cpu/cpu.h"
#include "trm/ops/cpu/kernels.h"
#include "trm/ops/cpu/primitive.h"
#include "trm/ops/cpu/threads.h"

namespace trm::ops::cpu {
namespace {

class AdamATan2 : public CpuPrimitive {
 public:
  explicit AdamATan2(const AdamStep& constants) : constants_(constants) {}
  const char* name() const override { return "TrmAdamATan2"; }

  // {p, m, v, g, decay, step_size, inv_sqrt_bias2, average if any} -> {p, m, v, average}
  void eval_cpu(const Arrays& in, Arrays& out) override {
    const bool averages = out.size() > 3;
    // Each output holds every input; those that MLX does not read any more let go, so that an input
    // nobody else holds can be overwritten.
    for (auto& o : out) {
      if (&o.inputs() != &in) o.inputs().clear();
    }
    for (size_t i = 0; i < out.size(); ++i) {
      const auto& before = in[i < 3 ? i : 7];
      if (before.is_donatable())
        out[i].copy_shared_buffer(before);
      else
        out[i].set_data(mx::allocator::malloc(out[i].nbytes()));
    }
    AdamStep step = constants_;
    step.p = in[0].data<float>(), step.m = in[1].data<float>(), step.v = in[2].data<float>();
    step.g = in[3].data<float>();
    step.average = averages ? in[7].data<float>() : nullptr;
    step.p_out = out[0].data<float>(), step.m_out = out[1].data<float>();
    step.v_out = out[2].data<float>();
    step.average_out = averages ? out[3].data<float>() : nullptr;
    mx::cpu::get_command_encoder(stream()).dispatch(
        [step, n = static_cast<long>(in[0].size()), decay = in[4].data<float>(),
         step_size = in[5].data<float>(), inv = in[6].data<float>()]() mutable {
          step.decay = *decay, step.step_size = *step_size, step.inv_sqrt_bias2 = *inv;
          constexpr long kBlock = 4096;
          parallel((n + kBlock - 1) / kBlock, [&](long begin, long end) {
            kernels(false).adam_atan2(step, begin * kBlock, std::min(n, end * kBlock));
          });
        });
  }

 private:
  AdamStep constants_;
};

}  // namespace

Arrays adam_atan2(const mx::array& p, const mx::array& g, const mx::array& m, const mx::array& v,
                  const std::optional<mx::array>& average, const AdamScalars& s) {
  AdamStep constants{};
  constants.one_minus_beta1 = s.one_minus_beta1, constants.one_minus_beta2 = s.one_minus_beta2;
  constants.rate = s.rate, constants.one_minus_rate = s.one_minus_rate;
  Arrays in{floats(p), floats(m), floats(v), floats(g), s.decay, s.step_size, s.inv_sqrt_bias2};
  if (average) in.push_back(floats(*average));
  size_t outputs = average ? 4 : 3;
  return mx::array::make_arrays(std::vector<mx::Shape>(outputs, p.shape()),
                                std::vector<mx::Dtype>(outputs, mx::float32),
                                std::make_shared<AdamATan2>(constants), in);
}

}  // namespace trm::ops::cpu
