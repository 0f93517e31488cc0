#include "trm/serve/http.h"

#include <chrono>
#include <cstring>
#include <stdexcept>

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "trm/io/text.h"

namespace trm::serve {

namespace {

using Clock = std::chrono::steady_clock;

bool hung_up(int fd) {
  pollfd p{fd, POLLIN, 0};
  if (poll(&p, 1, 0) <= 0) return false;
  if (p.revents & (POLLERR | POLLHUP | POLLNVAL)) return true;
  char c;
  return recv(fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

#ifndef CPPHTTPLIB_VERSION_NUM

constexpr auto kRequestTime = std::chrono::seconds(15);
constexpr auto kIdleTime = std::chrono::seconds(5);
constexpr int kRequestsAConnection = 100;

// A connection whose every request may bring a limited number of bytes in a limited time.
class Connection : public httplib::Stream {
 public:
  Connection(int fd, size_t bytes_a_request) : fd_(fd), bytes_a_request_(bytes_a_request) {}

  /// Waits for a next request; false when none comes.
  bool begin_request() {
    if (begin_ == end_ && !wait(POLLIN, kIdleTime)) return false;
    left_ = bytes_a_request_;
    deadline_ = Clock::now() + kRequestTime;
    return true;
  }
  bool is_readable() const override {
    return begin_ < end_ || wait(POLLIN, std::min<Clock::duration>(kIdleTime, time_left()));
  }
  bool is_writable() const override { return !hung_up(fd_) && wait(POLLOUT, kIdleTime); }
  ssize_t read(char* to, size_t size) override {
    if (begin_ == end_) {
      if (!is_readable()) return -1;
      auto n = recv(fd_, buffer_, sizeof buffer_, 0);
      if (n <= 0) return n;
      begin_ = 0;
      end_ = static_cast<size_t>(n);
    }
    size = std::min(size, end_ - begin_);
    if (size > left_) return -1;
    left_ -= size;
    memcpy(to, buffer_ + begin_, size);
    begin_ += size;
    return static_cast<ssize_t>(size);
  }
  ssize_t write(const char* from, size_t size) override {
    if (!wait(POLLOUT, kIdleTime)) return -1;
    return send(fd_, from, size, MSG_NOSIGNAL);
  }
  void get_remote_ip_and_port(std::string& ip, int& port) const override {
    address(getpeername, ip, port);
  }
  void get_local_ip_and_port(std::string& ip, int& port) const override {
    address(getsockname, ip, port);
  }
  socket_t socket() const override { return fd_; }

  bool close_after = false;

 private:
  Clock::duration time_left() const {
    return std::max<Clock::duration>(Clock::duration::zero(), deadline_ - Clock::now());
  }
  bool wait(short events, Clock::duration time) const {
    pollfd p{fd_, events, 0};
    auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(time).count();
    return poll(&p, 1, static_cast<int>(ms)) > 0 && (p.revents & (events | POLLHUP));
  }
  template <class F>
  void address(F&& of, std::string& ip, int& port) const {
    sockaddr_storage a{};
    socklen_t n = sizeof a;
    char text[INET6_ADDRSTRLEN] = "";
    port = 0;
    if (of(fd_, reinterpret_cast<sockaddr*>(&a), &n) != 0) return;
    if (a.ss_family == AF_INET) {
      auto& v4 = reinterpret_cast<sockaddr_in&>(a);
      inet_ntop(AF_INET, &v4.sin_addr, text, sizeof text);
      port = ntohs(v4.sin_port);
    } else {
      auto& v6 = reinterpret_cast<sockaddr_in6&>(a);
      inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof text);
      port = ntohs(v6.sin6_port);
    }
    ip = text;
  }

  int fd_;
  size_t bytes_a_request_, left_ = 0, begin_ = 0, end_ = 0;
  Clock::time_point deadline_;
  char buffer_[4096];
};

thread_local Connection* current = nullptr;

#endif

}  // namespace

#ifdef CPPHTTPLIB_VERSION_NUM

bool client_gone(const httplib::Request& request) { return request.is_connection_closed(); }
void close_after_answer(httplib::Response& response) { response.set_header("Connection", "close"); }

#else

bool client_gone(const httplib::Request&) { return current && hung_up(current->socket()); }
void close_after_answer(httplib::Response&) {
  if (current) current->close_after = true;
}

bool HttpServer::process_and_close_socket(socket_t sock) {
  Connection connection(sock, 2 * max_body_ + (64 << 10));
  current = &connection;
  for (int i = 1; svr_sock_ != INVALID_SOCKET && connection.begin_request(); ++i) {
    bool closed = false, last = i == kRequestsAConnection;
    if (!process_request(connection, last, closed, nullptr)) break;
    if (closed || last || connection.close_after) break;
  }
  current = nullptr;
  // Closing with unread bytes would reset the connection, and the client might lose our answer.
  shutdown(sock, SHUT_WR);
  char rest[4096];
  for (int i = 0; i < 256; ++i) {
    pollfd p{sock, POLLIN, 0};
    if (poll(&p, 1, 200) <= 0 || recv(sock, rest, sizeof rest, 0) <= 0) break;
  }
  close(sock);
  return true;
}

#endif

HttpServer::HttpServer(size_t max_body, int threads) : max_body_(max_body) {
  set_payload_max_length(max_body);
  new_task_queue = [threads] { return new httplib::ThreadPool(static_cast<size_t>(threads)); };
  set_tcp_nodelay(true);  // steps are small and should be seen at once
  // httplib's own choice, SO_REUSEPORT, would let a second server share the port unnoticed.
  set_socket_options([](socket_t sock) {
    int yes = 1;
    setsockopt(sock, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  });
}

int HttpServer::bind(const std::string& host, int port) {
  if (port == 0) {
    port = bind_to_any_port(host);
    if (port < 0) port = 0;
  } else if (!bind_to_port(host, port)) {
    port = 0;
  }
  if (port == 0) {
    throw std::runtime_error(
        fmt::format("[serve] cannot listen on {} at this port: {} (another program may use it; "
                    "--port 0 takes a free one)",
                    printable(host), strerror(errno)));
  }
  ::listen(svr_sock_, 128);  // httplib asks for a backlog of 5
  return port;
}

}  // namespace trm::serve
