// cpp-httplib with what it leaves to its user: a bound on the bytes and the time of a request's
// headers and body, and whether the client is still there.
#pragma once

#include <httplib.h>

namespace trm::serve {

/// Whether the client of the request that this thread is answering has closed its side.
bool client_gone(const httplib::Request& request);
/// Ends the connection of this thread's request after its answer: its body was not read.
void close_after_answer(httplib::Response& response);

class HttpServer : public httplib::Server {
 public:
  /// At most `max_body` bytes are read of a body; `threads` connections are served at a time.
  HttpServer(size_t max_body, int threads);
  /// Binds and listens; the port (also for port 0). Throws std::runtime_error.
  int bind(const std::string& host, int port);

 private:
#ifndef CPPHTTPLIB_VERSION_NUM  // before 0.23
  bool process_and_close_socket(socket_t sock) override;
#endif
  size_t max_body_;
};

}  // namespace trm::serve
