// Loads any checkpoint (PyTorch, .npz, .safetensors), prints what it holds and saves it as .npz.
//   build/examples/load_checkpoint runs/step_6510 weights.npz
#include <iostream>

#include "trm/checkpoint/checkpoint.h"

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  try {
    trm::Checkpoint checkpoint = trm::load_checkpoint(argv[1]);
    std::cout << checkpoint.format << ", " << checkpoint.tensors.size() << " tensors\n";
    for (auto& [name, array] : checkpoint.tensors) {
      // Shapes and types are known; values are read from the file when they are asked for.
      auto mean = mlx::core::mean(mlx::core::astype(array, mlx::core::float32));
      std::cout << name << " " << array.shape() << " " << array.dtype() << ", mean "
                << mean.item<float>() << "\n";
    }
    if (argc > 2) trm::save_npz(argv[2], checkpoint.tensors);
  } catch (const std::exception& e) {
    std::cerr << e.what() << "\n";
    return 1;
  }
}
