// Several processes of this machine over MLX's ring backend.
#pragma once

#include <random>

#include <arpa/inet.h>
#include <nlohmann/json.hpp>
#include <sys/socket.h>

#include "tests/train/run_test_util.h"
#include "trm/io/atomic_file.h"

namespace trm::testing_run {

class RingTest : public RunTest {
 protected:
  /// Starts `n` processes as mlx.launch does: MLX_RANK and a MLX_HOSTFILE with free ports.
  std::vector<pid_t> start_ring(int n, const std::vector<std::string>& words,
                                const std::string& command = "pretrain") {
    auto hosts = nlohmann::json::array();
    std::vector<int> held;
    std::random_device random;
    while (static_cast<int>(held.size()) < n) {
      // Below the ports that the system gives to connections, which tests beside this one open.
      uint16_t port = static_cast<uint16_t>(20000 + random() % 12000);
      int fd = socket(AF_INET, SOCK_STREAM, 0);
      sockaddr_in address = {};
      address.sin_family = AF_INET;
      address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      address.sin_port = htons(port);
      if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) {
        hosts.push_back({"127.0.0.1:" + std::to_string(port)});
        held.push_back(fd);
      } else {
        close(fd);
      }
    }
    for (int fd : held) close(fd);
    write_file_atomically(folder_ / "hosts.json", hosts.dump());
    std::vector<pid_t> pids;
    for (int i = 0; i < n; ++i) {
      pids.push_back(start(
          words, nullptr,
          {{"MLX_RANK", std::to_string(i)}, {"MLX_HOSTFILE", (folder_ / "hosts.json").string()}},
          std::to_string(i), command));
    }
    return pids;
  }
  void run_ring(int n, const std::vector<std::string>& words,
                const std::string& command = "pretrain") {
    auto pids = start_ring(n, words, command);
    for (int i = 0; i < n; ++i) {
      auto result = finish(pids[static_cast<size_t>(i)], std::to_string(i));
      EXPECT_EQ(result.status, 0) << "rank " << i << ": " << result.err;
      EXPECT_EQ(i > 0 && !result.out.empty(), false) << result.out;
    }
  }
};

}  // namespace trm::testing_run
