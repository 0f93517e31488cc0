#include "trm/eval/act_loop.h"

#include <numeric>

#include "trm/nn/init.h"

namespace trm {

namespace {

mx::array mean_square(const mx::array& a) {  // (B, L, D) -> (B)
  return mx::contiguous(mx::mean(mx::square(mx::astype(a, mx::float32)), {1, 2}));
}

}  // namespace

void run_act(const Model& model, const Examples& examples, const ActOptions& options,
             const std::function<bool(const RowStep&)>& goes_on) {
  auto carry = initial_carry(model, examples);
  KeySequence keys(options.key);
  std::vector<int> live(static_cast<size_t>(examples.inputs.shape(0)));  // rows of the batch
  std::iota(live.begin(), live.end(), 0);
  auto cells = static_cast<size_t>(examples.inputs.shape(1));
  for (int step = 0; step < options.steps && !live.empty(); ++step) {
    if (options.noise > 0) {
      if (step == 0) carry = replace_halted(model, carry, carry.current);
      carry.halted = mx::zeros_like(carry.halted);
      for (auto& z : carry.z) {
        z = z + mx::random::normal(z.shape(), z.dtype(), 0, options.noise, keys.next());
      }
    }
    auto r = evaluate_step(model, carry, carry.current);
    auto moved = options.residual ? mean_square(r.carry.z[0] - carry.z[0]) : mx::zeros({1});
    carry = r.carry;
    carry.halted = mx::zeros_like(carry.halted);  // a done row goes on, never starts anew
    auto preds = mx::contiguous(r.preds);
    auto q_halt = mx::contiguous(mx::astype(r.answer.q_halt, mx::float32));
    auto lm_loss = mx::contiguous(row_lm_loss(model, r.answer, carry.current.labels));
    Arrays wanted = carry.z;
    wanted.insert(wanted.end(), {preds, q_halt, lm_loss, carry.steps, moved});
    mx::eval(wanted);
    std::vector<int> positions, still;
    for (size_t i = 0; i < live.size(); ++i) {
      if (goes_on({live[i], step, preds.data<int32_t>() + i * cells, q_halt.data<float>()[i],
                   lm_loss.data<float>()[i], options.residual ? moved.data<float>()[i] : 0.0f})) {
        positions.push_back(static_cast<int>(i)), still.push_back(live[i]);
      }
    }
    if (still.size() == live.size()) continue;
    live = still;
    if (!live.empty()) carry = take_rows(carry, positions);
  }
}

}  // namespace trm
