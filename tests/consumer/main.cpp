// Loads a checkpoint and takes one step of thought with it.
#include <cstdio>

#include <trm/act.h>
#include <trm/eval/load_model.h>

int main(int argc, char** argv) {
  auto loaded = trm::load_model(argc > 1 ? argv[1] : "", {});
  const auto& model = loaded.model;
  int cells = model.shape.seq_len;
  trm::Batch batch;
  batch.size = batch.rows = batch.global_rows = 1;
  batch.seq_len = cells;
  batch.inputs.assign(cells, 1);
  batch.labels.assign(cells, trm::kIgnoreLabel);
  batch.puzzle_identifiers = {0};
  auto examples = trm::to_examples(batch);
  auto step = trm::evaluate_step(model, trm::initial_carry(model, examples), examples);
  trm::mx::eval(step.preds);
  std::printf("consumer: %d cells\n", step.preds.shape(1));
}
