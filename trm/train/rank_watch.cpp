#include "trm/train/rank_watch.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <stdexcept>

#include <fcntl.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace trm {

namespace {

/// Not open in programs that this one starts (accept4() and SOCK_CLOEXEC are Linux's alone).
int closed_on_exec(int socket) {
  if (socket >= 0) fcntl(socket, F_SETFD, FD_CLOEXEC);
  return socket;
}

constexpr uint8_t kFarewell = 255;  // any other byte is the rank that is gone
constexpr int kMaxRanks = 255;
constexpr int kConnectSeconds = 30;

[[noreturn]] void fail(const std::string& what) {
  throw std::runtime_error(fmt::format("[distributed] {}: {}", what, strerror(errno)));
}

void keep_alive(int socket) {
  auto set = [&](int level, int option, int value) {
    setsockopt(socket, level, option, &value, sizeof value);
  };
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_NODELAY, 1);
#ifdef TCP_KEEPIDLE
  set(IPPROTO_TCP, TCP_KEEPIDLE, 10);
#endif
  set(IPPROTO_TCP, TCP_KEEPINTVL, 5);
  set(IPPROTO_TCP, TCP_KEEPCNT, 4);
}

void send_byte(int socket, uint8_t byte) {
#ifdef MSG_NOSIGNAL
  send(socket, &byte, 1, MSG_NOSIGNAL);
#else
  send(socket, &byte, 1, 0);
#endif
}

/// Waits until `socket` has something to accept or read.
void wait_for(int socket, const char* what) {
  pollfd p{socket, POLLIN, 0};
  if (poll(&p, 1, kConnectSeconds * 1000) <= 0) {
    if (errno == 0) errno = ETIMEDOUT;
    fail(what);
  }
}

}  // namespace

std::string first_host() {
  if (const char* file = std::getenv("MLX_HOSTFILE")) {
    auto hosts = nlohmann::json::parse(std::ifstream(file), nullptr, false);
    const nlohmann::json* entry = &hosts;
    while (entry->is_array() && !entry->empty()) entry = &entry->front();
    if (entry->is_string()) {
      auto text = entry->get<std::string>();
      return text.substr(0, text.rfind(':'));
    }
  }
  const char* nccl = std::getenv("NCCL_HOST_IP");
  return nccl ? nccl : "";
}

RankWatch::RankWatch(const Ranks& ranks, std::function<void(int)> lost)
    : rank_(ranks.rank()), size_(ranks.size()), lost_(std::move(lost)) {
  std::string host = size_ > 1 && size_ <= kMaxRanks ? first_host() : "";
  if (size_ == 1) return;
  // All have to agree on whether there is a watch, and learn the port that rank 0 listens on.
  int listener = -1, port = 0;
  if (rank_ == 0 && !host.empty()) {
    listener = closed_on_exec(socket(AF_INET, SOCK_STREAM, 0));
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_ANY);
    socklen_t length = sizeof address;
    if (listener < 0 || bind(listener, reinterpret_cast<sockaddr*>(&address), length) != 0 ||
        listen(listener, size_) != 0 ||
        getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length) != 0) {
      fail("cannot listen for the other processes");
    }
    port = ntohs(address.sin_port);
  }
  auto told = ranks.sum(mx::array({port, host.empty() ? 0 : 1}));
  mx::eval(told);
  if (told.data<int>()[1] != size_) {
    if (listener >= 0) close(listener);
    return;
  }
  if (rank_ == 0) {
    peers_.assign(static_cast<size_t>(size_), -1);
    for (int i = 1; i < size_; ++i) {
      wait_for(listener, "not all processes connected");
      int peer = closed_on_exec(accept(listener, nullptr, nullptr));
      uint8_t rank = 0;
      if (peer < 0) fail("cannot accept a process");
      wait_for(peer, "a process did not say its rank");
      if (recv(peer, &rank, 1, 0) != 1 || rank == 0 || rank >= size_) {
        fail("a process did not say its rank");
      }
      keep_alive(peer);
      peers_[rank] = peer;
    }
    close(listener);
  } else {
    connect_to_first(host, told.data<int>()[0]);
  }
  if (pipe(wake_) != 0) fail("cannot make a pipe");
  thread_ = std::thread([this] { watch(); });
}

void RankWatch::connect_to_first(const std::string& host, int port) {
  addrinfo hints = {}, *found = nullptr;
  hints.ai_family = AF_INET;
  hints.ai_socktype = SOCK_STREAM;
  if (getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found) != 0) {
    fail(fmt::format("cannot find the host of rank 0, {}", host));
  }
  int peer = closed_on_exec(socket(found->ai_family, SOCK_STREAM, 0));
  bool connected = peer >= 0 && connect(peer, found->ai_addr, found->ai_addrlen) == 0;
  freeaddrinfo(found);
  if (!connected) fail(fmt::format("cannot connect to rank 0 at {}:{}", host, port));
  keep_alive(peer);
  send_byte(peer, static_cast<uint8_t>(rank_));
  peers_ = {peer};
}

void RankWatch::watch() {
  std::vector<pollfd> polled{{wake_[0], POLLIN, 0}};
  for (int peer : peers_) polled.push_back({peer, POLLIN, 0});  // -1 is passed over by poll
  while (true) {
    if (poll(polled.data(), polled.size(), -1) < 0) continue;
    if (polled[0].revents) return;
    for (size_t i = 1; i < polled.size(); ++i) {
      if (!polled[i].revents) continue;
      uint8_t byte = 0;
      bool heard = recv(polled[i].fd, &byte, 1, 0) == 1;
      if (heard && byte == kFarewell) {
        polled[i].fd = -1;
        continue;
      }
      // The process behind this connection is gone, or rank 0 tells of another that is.
      int gone = heard && rank_ != 0 ? byte : rank_ == 0 ? static_cast<int>(i - 1) : 0;
      if (rank_ == 0) {
        for (size_t k = 1; k < polled.size(); ++k) {
          if (k != i && polled[k].fd >= 0) send_byte(polled[k].fd, static_cast<uint8_t>(gone));
        }
      }
      lost_(gone);
      return;
    }
  }
}

void RankWatch::finish() {
  for (int peer : peers_) {
    if (peer >= 0) send_byte(peer, kFarewell);
  }
}

RankWatch::~RankWatch() {
  if (thread_.joinable()) {
    char byte = 0;
    while (write(wake_[1], &byte, 1) < 0 && errno == EINTR) {
    }
    thread_.join();
  }
  for (int fd : peers_) {
    if (fd >= 0) close(fd);
  }
  for (int fd : wake_) {
    if (fd >= 0) close(fd);
  }
}

}  // namespace trm
