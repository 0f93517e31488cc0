#pragma once

#include <optional>
#include <string>
#include <vector>

#include <mlx/distributed/distributed.h>

#include "trm/mlx.h"

namespace trm {

/// The processes that train together, over MLX's distributed layer; usually this one alone.
class Ranks {
 public:
  Ranks() = default;
  /// The group that mlx.launch or mpirun started this process in, by its environment variables;
  /// one process where there are none. Throws std::runtime_error if the group cannot be joined.
  static Ranks join();

  int rank() const { return group_ ? group_->rank() : 0; }
  int size() const { return group_ ? group_->size() : 1; }
  bool first() const { return rank() == 0; }

  /// Sums of each array over all processes, sent as one message a dtype.
  Arrays sum(const Arrays& arrays) const;
  mx::array sum(const mx::array& array) const { return sum(Arrays{array})[0]; }
  /// Joined along the first axis, in the order of the ranks. Equal shapes on all.
  mx::array gather(const mx::array& array) const;
  /// The text of every process, in the order of the ranks, on all of them.
  std::vector<std::string> gather(const std::string& text) const;
  /// This process's part of an array joined so.
  mx::array part(const mx::array& array) const;

 private:
  std::optional<mx::distributed::Group> group_;
};

}  // namespace trm
