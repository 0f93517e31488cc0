// Puzzles being worked on together: each row is at its own ACT step.
#pragma once

#include <optional>
#include <vector>

#include "trm/act.h"

namespace trm::serve {

/// One puzzle as the model reads it.
struct Question {
  std::vector<int32_t> tokens;  // (cells)
  int32_t identifier = 0;
  int steps = 16;
  bool early_stop = false;  // leave once the answer has settled
};

/// What a step made of one row.
struct RowStep {
  std::vector<int32_t> preds;     // (cells) tokens
  std::vector<float> confidence;  // (cells) probability of each, as the model's loss defines it
  float q_halt = 0;               // logit
};

/// Runs ACT steps for a batch whose rows come and go. Only one thread may use it.
class Engine {
 public:
  virtual ~Engine() = default;
  /// Adds rows behind the present ones.
  virtual void join(const std::vector<Question>& questions) = 0;
  /// One step of all rows, in their order.
  virtual std::vector<RowStep> step() = 0;
  /// Leaves only these rows, in this order.
  virtual void keep(const std::vector<int>& rows) = 0;
};

class LiveBatch : public Engine {
 public:
  /// Takes one step, so that all that was left undone of the model (weights read, rotations) is
  /// done on the thread that made it: MLX cannot compute it on another one.
  explicit LiveBatch(Model model);
  void join(const std::vector<Question>& questions) override;
  std::vector<RowStep> step() override;
  void keep(const std::vector<int>& rows) override;

 private:
  Model model_;
  std::optional<Carry> carry_;
};

}  // namespace trm::serve
