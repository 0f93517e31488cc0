// Better answers from a trained model at test time: several attempts at each puzzle, which start
// from other forms of it or with noise, and one answer chosen among theirs.
#pragma once

#include <string>

#include "trm/eval/evaluate.h"

namespace trm {

enum class Select {
  q,         // the attempt whose last q_halt is largest
  residual,  // the one whose answer latent moved least in its last step
  vote,      // the answer that most attempts give, ties by the sum of their halting probabilities
  first,     // the first to halt (q_halt > 0), one attempt after the other; else as q
  rules,     // Sudoku: the first answer that obeys its rules, at whatever step; else as q
};

struct AttemptOptions {
  Select select = Select::q;
  int samples = 1;  // attempts at each view, told apart by their noise
  /// Forms of a Sudoku (other digits, bands, lines, transposed; the first is the puzzle itself).
  int views = 1;
  /// Deviation of the Gaussian noise on the latents before each ACT step (PTRM, arXiv 2605.19943);
  /// the first attempt has none.
  float noise = 0;
  uint64_t seed = 0;
  int from = 0;  // attempts before this one were made already
};

/// evaluate() with attempts. The Evaluation has one step, the chosen answers; row_steps counts the
/// ACT steps of all attempts. Throws std::invalid_argument for views or rules of other puzzles than
/// Sudoku, and for several samples
/// without noise, which would all be the same.
Evaluation evaluate(const Model& model, const NextBatch& next, const AttemptOptions& attempts,
                    const EvaluateOptions& options);

}  // namespace trm
