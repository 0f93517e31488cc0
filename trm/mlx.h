// MLX under the short name the whole project uses.
#pragma once

#include <vector>

#include <mlx/mlx.h>

namespace trm {
namespace mx = mlx::core;
using Arrays = std::vector<mx::array>;
}  // namespace trm
