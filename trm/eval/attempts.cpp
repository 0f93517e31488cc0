#include "trm/eval/attempts.h"

#include <cmath>
#include <map>
#include <optional>
#include <stdexcept>

#include <fmt/format.h>

#include "trm/data/sudoku.h"
#include "trm/data/symmetry.h"
#include "trm/eval/act_loop.h"
#include "trm/eval/scores.h"
#include "trm/eval/tally.h"

namespace trm {

namespace {

using Tokens = std::vector<int32_t>;

/// A form of a Sudoku in tokens (digit + 1, blank 1).
struct View {
  SudokuShuffle shuffle;

  Tokens operator()(const int32_t* tokens, size_t cells) const {
    Tokens out(cells);
    for (size_t i = 0; i < cells; ++i) out[i] = renamed(shuffle.digit, tokens[shuffle.from[i]]);
    return out;
  }
  Tokens back(const int32_t* tokens, size_t cells) const {
    std::array<uint8_t, 10> digit{};
    for (size_t d = 0; d < digit.size(); ++d) digit[shuffle.digit[d]] = static_cast<uint8_t>(d);
    Tokens out(cells);
    for (size_t i = 0; i < cells; ++i) out[shuffle.from[i]] = renamed(digit, tokens[i]);
    return out;
  }
  // Padding and other tokens that are no digit stay.
  static int32_t renamed(const std::array<uint8_t, 10>& digit, int32_t token) {
    bool known = token >= 1 && token <= 10;
    return known ? digit[static_cast<size_t>(token - 1)] + 1 : token;
  }
};

int side_of(size_t cells) { return static_cast<int>(std::lround(std::sqrt(cells))); }

/// What the attempts at one puzzle have brought so far.
struct Chosen {
  Tokens preds;
  float q_halt = -INFINITY;
  double score = -INFINITY;  // of preds, in the terms of the selection
  int64_t steps = 0;
  bool decided = false;  // no further attempt
  struct Votes {
    int count = 0;
    double belief = 0;
    float q_halt = 0;
  };
  std::map<Tokens, Votes> votes;

  void offer(const Tokens& answer, float q, double by) {
    if (by <= score && !preds.empty()) return;
    preds = answer, q_halt = q, score = by;
  }
};

class Attempts {
 public:
  Attempts(const Model& model, const AttemptOptions& options, int steps)
      : model_(model), o_(options), steps_(steps) {
    DatasetMetadata data;
    data.seq_len = model.shape.seq_len;
    data.vocab_size = model.shape.vocab_size;
    bool sudoku = kind_of(data) == PuzzleKind::sudoku;
    if (!sudoku && (o_.views > 1 || o_.select == Select::rules)) {
      throw std::invalid_argument(
          "[evaluate] views and the selection by rules are for Sudoku of 4x4, 6x6 or 9x9 cells");
    }
    if (o_.samples > 1 && o_.noise == 0) {
      throw std::invalid_argument("[evaluate] several samples without noise would all be the same");
    }
  }

  std::vector<Chosen> run(const Batch& batch) {
    std::vector<Chosen> chosen(static_cast<size_t>(batch.rows));
    for (int attempt = o_.from; attempt < o_.views * o_.samples; ++attempt) {
      std::vector<int> open;
      for (int i = 0; i < batch.rows; ++i) {
        if (!chosen[static_cast<size_t>(i)].decided) open.push_back(i);
      }
      if (open.empty()) break;
      once(batch, open, attempt, chosen);
    }
    for (auto& c : chosen) {
      for (auto& [answer, v] : c.votes)
        c.offer(answer, v.q_halt, v.count + v.belief / (1 + v.count));
    }
    return chosen;
  }

 private:
  void once(const Batch& batch, const std::vector<int>& open, int attempt,
            std::vector<Chosen>& chosen) const {
    auto cells = static_cast<size_t>(batch.seq_len);
    std::optional<View> view;  // none: the puzzle itself
    if (attempt % o_.views > 0) {
      NumpyMt19937 rng(static_cast<uint32_t>(o_.seed) + static_cast<uint32_t>(attempt));
      view = View{SudokuShuffle::draw(side_of(cells), rng)};
    }
    Tokens inputs, identifiers;
    std::vector<Tokens> questions;
    for (int row : open) {
      auto* question = &batch.inputs[static_cast<size_t>(row) * cells];
      questions.emplace_back(question, question + cells);
      auto seen = view ? (*view)(question, cells) : questions.back();
      inputs.insert(inputs.end(), seen.begin(), seen.end());
      identifiers.push_back(batch.puzzle_identifiers[static_cast<size_t>(row)]);
    }
    Tokens labels(inputs.size(), kIgnoreLabel);
    int rows = static_cast<int>(open.size());
    mx::Shape grid{rows, batch.seq_len};
    Examples examples{mx::array(inputs.data(), grid, mx::int32),
                      mx::array(labels.data(), grid, mx::int32),
                      mx::array(identifiers.data(), {rows}, mx::int32)};
    ActOptions act{steps_, attempt > 0 ? o_.noise : 0.0f,
                   mx::random::key(o_.seed + static_cast<uint64_t>(attempt)),
                   o_.select == Select::residual};
    run_act(model_, examples, act, [&](const RowStep& s) {
      auto i = static_cast<size_t>(s.row);
      auto& c = chosen[static_cast<size_t>(open[i])];
      ++c.steps;
      auto answer = view ? view->back(s.preds, cells) : Tokens(s.preds, s.preds + cells);
      return goes_on(c, questions[i], answer, s);
    });
  }

  bool goes_on(Chosen& c, const Tokens& question, const Tokens& answer, const RowStep& s) const {
    bool last = s.step + 1 == steps_;
    switch (o_.select) {
      case Select::rules:
      case Select::first:
        c.decided = o_.select == Select::rules
                        ? check_answer(PuzzleKind::sudoku, question.data(), answer.data(),
                                       static_cast<int>(answer.size()))
                              .valid
                        : s.q_halt > 0;
        if (c.decided) c.offer(answer, s.q_halt, INFINITY);
        [[fallthrough]];
      case Select::q:
        if (last) c.offer(answer, s.q_halt, s.q_halt);
        break;
      case Select::residual:
        if (last) c.offer(answer, s.q_halt, -s.residual);
        break;
      case Select::vote:
        if (last) {
          auto& v = c.votes[answer];
          ++v.count;
          v.belief += 1 / (1 + std::exp(-static_cast<double>(s.q_halt)));
          v.q_halt = s.q_halt;
        }
        break;
    }
    return !c.decided;
  }

  const Model& model_;
  const AttemptOptions& o_;
  int steps_;
};

}  // namespace

Evaluation evaluate(const Model& model, const NextBatch& next, const AttemptOptions& attempts,
                    const EvaluateOptions& options) {
  Evaluation total;
  total.cells = model.shape.seq_len;
  Attempts runner(model, attempts, options.steps.value_or(model.config.halt_max_steps));
  Tally tally(total, options, 1);
  while (auto batch = next()) {
    check_batch(model, *batch);
    auto chosen = runner.run(*batch);
    tally.begin(*batch);
    for (size_t i = 0; i < chosen.size(); ++i) {
      tally.see({static_cast<int>(i), 0, chosen[i].preds.data(), chosen[i].q_halt, 0, 0});
      total.row_steps += chosen[i].steps - 1;  // the tally counted one
    }
    tally.end();
    if (options.on_batch && !options.on_batch(total.rows)) break;
  }
  return total;
}

}  // namespace trm
