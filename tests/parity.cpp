// What our models compute on data in the golden layout, for reference/parity.py to compare:
//   trm_parity NAME OUT.safetensors
// NAME.json, NAME.safetensors and NAME.pt (ACT steps) or NAME.init.pt (a training run). Every step
// of training starts from the carry that the data hold, evaluation goes on from our own.
#include <cstdio>

#include "tests/golden_run.h"
#include "trm/checkpoint/checkpoint.h"

int main(int argc, char** argv) {
  using namespace trm;
  if (argc != 3) {
    std::fputs("usage: trm_parity NAME OUT.safetensors\n", stderr);
    return 2;
  }
  try {
    std::string name = argv[1];
    auto g = golden::load(name);
    bool run = g.json.contains("hyper");
    auto weights = golden::load_weights(name + (run ? ".init.pt" : ".pt"));
    auto model = golden::make_golden_model(g.json, weights);
    golden::Results results;
    if (run) {
      results = golden::training_run(g, model);
    } else {
      results = golden::train(g, model, golden::Carries::reference);
      results.merge(golden::evaluate(g, model));
    }
    save_safetensors(argv[2], NamedArrays(results.begin(), results.end()));
  } catch (const std::exception& e) {
    std::fprintf(stderr, "trm_parity: %s\n", e.what());
    return 1;
  }
}
