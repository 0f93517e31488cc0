#pragma once

#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "trm/train/ranks.h"

namespace trm {

/// Notices when another process of a run is gone. MLX's collectives only say that a connection was
/// lost, or wait for ever; here every process holds a connection to rank 0, which tells the others
/// who left it. A process that ends, however, is noticed at once, a lost machine within 30 seconds.
class RankWatch {
 public:
  /// Connects; every process of `ranks` has to come here. `lost` is called once, on another thread,
  /// with the rank that is gone. Does nothing for one process, or where the address of rank 0 is
  /// unknown (no MLX_HOSTFILE, no NCCL_HOST_IP). Throws std::runtime_error if it cannot connect.
  RankWatch(const Ranks& ranks, std::function<void(int rank)> lost);
  /// Leaves without farewell unless finish() was called: to the others, this process is gone then.
  ~RankWatch();
  RankWatch(const RankWatch&) = delete;
  RankWatch& operator=(const RankWatch&) = delete;

  /// Says farewell. All processes have to be done with their collectives.
  void finish();

 private:
  void connect_to_first(const std::string& host, int port);
  void watch();

  int rank_, size_;
  std::function<void(int)> lost_;
  std::vector<int> peers_;  // rank 0: socket of each rank (own: -1); others: the one to rank 0
  int wake_[2] = {-1, -1};  // a pipe that ends the thread
  std::thread thread_;
};

/// Address of rank 0 from the launcher's environment: the first of MLX_HOSTFILE, or NCCL_HOST_IP;
/// "" where neither is set.
std::string first_host();

}  // namespace trm
