// Time by kernel, through CUPTI's activity records (libcupti comes with the CUDA toolkit and beside
// PyTorch; loaded when asked for).
#pragma once

namespace profile {

/// To be called before the program first uses the GPU. Throws std::runtime_error without libcupti.
void start();

/// Forgets what was recorded so far. The device must be idle.
void clear();

/// A line a kernel, the longest first: calls and milliseconds of one of `steps` steps; then the
/// sum, and what the steps took from the first kernel's start to the last one's end.
void print(int steps);

}  // namespace profile
