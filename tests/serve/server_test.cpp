// The server on loopback, over a fake engine: answers, bounds, and clients that misbehave.
#include "trm/serve/server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>
#include <sys/socket.h>

#include "tests/files.h"
#include "tests/serve/fake_engine.h"

namespace trm::serve {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

const std::string kPuzzle = "1.3..41..1.34..1";
const std::string kSolved = "1234341221434321";

std::string body(const std::string& puzzle = kPuzzle, const std::string& more = "") {
  return R"({"puzzle": ")" + puzzle + "\"" + (more.empty() ? "" : ", " + more) + "}";
}

class ServerTest : public testing::Test {
 protected:
  void start(ServerOptions options = {}) {
    options.port = 0;
    std::vector<ServedModel> models;
    models.push_back({{PuzzleKind::sudoku, 16, 6, 1, 4, 64, {}},
                      {{"kind", "sudoku"}},
                      std::make_unique<FakeEngine>(controls_)});
    models.push_back({{PuzzleKind::maze, 9, 6, 1, 4, 64, {}},
                      {{"kind", "maze"}},
                      std::make_unique<FakeEngine>(maze_controls_)});
    server_ = std::make_unique<Server>(std::move(models), options);
    port_ = server_->bind();
    thread_ = std::thread([this] { server_->listen(); });
    ASSERT_TRUE(eventually([&] { return client().Get("/healthz") != nullptr; }));
  }
  void TearDown() override {
    if (!server_) return;
    controls_->held = false;
    server_->stop();
    thread_.join();
  }
  httplib::Client client() {
    httplib::Client c("127.0.0.1", port_);
    c.set_read_timeout(20);
    return c;
  }
  httplib::Result solve(const std::string& text, httplib::Headers headers = {}) {
    return client().Post("/api/solve", headers, text, "application/json");
  }
  int status(const std::string& text, httplib::Headers headers = {}) {
    auto r = solve(text, headers);
    return r ? r->status : -1;
  }
  nlohmann::json health() { return nlohmann::json::parse(client().Get("/healthz")->body); }

  // What a socket gets back for these bytes, until the server closes.
  std::string raw(const std::string& bytes) {
    int fd = connect();
    size_t sent = 0;
    while (sent < bytes.size()) {
      auto n = send(fd, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
      if (n <= 0) break;
      sent += static_cast<size_t>(n);
    }
    shutdown(fd, SHUT_WR);
    std::string all;
    char buffer[4096];
    for (ssize_t n; (n = recv(fd, buffer, sizeof buffer, 0)) > 0;) all.append(buffer, n);
    close(fd);
    return all;
  }
  int connect() {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in a{};
    a.sin_family = AF_INET;
    a.sin_port = htons(static_cast<uint16_t>(port_));
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&a), sizeof a), 0);
    return fd;
  }
  std::string post_text(const std::string& text, const std::string& headers = "") {
    return "POST /api/solve HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" +
           headers + "Content-Length: " + std::to_string(text.size()) + "\r\n\r\n" + text;
  }

  std::shared_ptr<Controls> controls_ = std::make_shared<Controls>();
  std::shared_ptr<Controls> maze_controls_ = std::make_shared<Controls>();
  std::unique_ptr<Server> server_;
  std::thread thread_;
  int port_ = 0;
};

TEST_F(ServerTest, AnswersWithEveryStep) {
  start();
  auto r = solve(body(kSolved));
  ASSERT_EQ(r->status, 200);
  auto json = nlohmann::json::parse(r->body);
  EXPECT_EQ(json["answer"], kSolved);
  EXPECT_EQ(json["puzzle"], kSolved);
  EXPECT_EQ(json["solved"], true);
  EXPECT_EQ(json["kind"], "sudoku");
  EXPECT_EQ(json["steps_taken"], 4);
  ASSERT_EQ(json["steps"].size(), 4u);
  EXPECT_EQ(json["steps"][0]["confidence"].size(), 16u);
  EXPECT_EQ(json["steps"][0]["confidence"][0], 50);
  EXPECT_NEAR(json["halt"].get<double>(), 0.731, 0.001);
}

TEST_F(ServerTest, EachKindOfPuzzleHasItsModel) {
  start();
  std::string maze = "S  \n # \n  G\n";
  auto escaped = nlohmann::json(maze).dump();
  for (auto more : {"", ", \"kind\": \"maze\"", ", \"stream\": true"}) {
    auto r = solve("{\"puzzle\": " + escaped + more + "}");
    ASSERT_EQ(r->status, 200) << r->body;
    EXPECT_THAT(r->body, HasSubstr("\"kind\":\"maze\""));
    EXPECT_THAT(r->body, HasSubstr("\"answer\":" + escaped));
  }
  EXPECT_EQ(maze_controls_->steps, 12);
  EXPECT_EQ(controls_->steps, 0);
  EXPECT_EQ(status(body(kPuzzle, "\"kind\": \"maze\"")), 400);
  EXPECT_EQ(status(body(kPuzzle, "\"kind\": \"arc\"")), 400);
  auto get = [&](const char* path) { return nlohmann::json::parse(client().Get(path)->body); };
  auto model = get("/api/model");
  EXPECT_EQ(model["kind"], "sudoku");  // the first one's facts, as where there is only one
  ASSERT_EQ(model["models"].size(), 2u);
  EXPECT_EQ(model["models"][1]["kind"], "maze");
  EXPECT_EQ(get("/api/puzzles?kind=maze")["kind"], "maze");
  EXPECT_EQ(get("/api/puzzles")["puzzles"][0]["puzzle"].get<std::string>().size(), 16u);
  EXPECT_EQ(get("/api/example?kind=maze")["puzzle"].get<std::string>().size(), 12u);
  EXPECT_EQ(client().Get("/api/example?kind=arc")->status, 404);
  EXPECT_EQ(client().Get("/api/puzzles?kind=../etc")->status, 404);
}

TEST_F(ServerTest, StreamsEvents) {
  start();
  std::string bare = body(kPuzzle, "\"stream\": true");
  for (auto& [text, headers] : std::vector<std::pair<std::string, httplib::Headers>>{
           {bare, {}}, {body(), {{"Accept", "text/event-stream"}}}}) {
    auto r = solve(text, headers);
    ASSERT_EQ(r->status, 200);
    EXPECT_EQ(r->get_header_value("Content-Type"), "text/event-stream");
    EXPECT_THAT(r->body, StartsWith("event: start\ndata: {"));
    size_t steps = 0;
    for (size_t at = 0; (at = r->body.find("event: step\n", at)) != r->body.npos; ++at) ++steps;
    EXPECT_EQ(steps, 4u);
    EXPECT_THAT(r->body, HasSubstr("event: done\ndata: {"));
  }
}

TEST_F(ServerTest, GuardsThePage) {
  start();
  auto page = client().Get("/");
  ASSERT_EQ(page->status, 200);
  EXPECT_THAT(page->get_header_value("Content-Type"), StartsWith("text/html"));
  EXPECT_THAT(page->get_header_value("Content-Security-Policy"), HasSubstr("default-src 'none'"));
  EXPECT_EQ(page->get_header_value("X-Content-Type-Options"), "nosniff");
  EXPECT_EQ(client().Get("/", {{"Host", "evil.example"}})->status, 403);
  EXPECT_EQ(status(body(), {{"Host", "evil.example"}}), 403);
  EXPECT_EQ(status(body(), {{"Origin", "http://evil.example"}}), 403);
  EXPECT_EQ(client().Get("/../etc/passwd")->status, 404);
  EXPECT_EQ(client().Get("/%2e%2e/%2e%2e/etc/passwd")->status, 404);
  EXPECT_EQ(client().Get("/api/solve")->status, 405);
  EXPECT_EQ(client().Post("/healthz", "", "text/plain")->status, 405);
  EXPECT_EQ(client().Delete("/api/model")->status, 405);
}

TEST_F(ServerTest, BadRequestsAreAnsweredWith400) {
  start();
  for (auto text : {"", "x", "{}", "[1]", "{\"puzzle\": \"12\"}"}) {
    auto r = solve(text);
    ASSERT_EQ(r->status, 400) << text;
    EXPECT_EQ(nlohmann::json::parse(r->body)["status"], 400);
  }
  EXPECT_EQ(client().Post("/api/solve", body(), "text/plain")->status, 415);
  EXPECT_EQ(client().Post("/api/solve", body(), "application/json; charset=utf-8")->status, 200);
}

TEST_F(ServerTest, LargeBodiesAreAnsweredWith413) {
  ServerOptions options;
  options.max_body = 1000;
  start(options);
  std::string large(1001, ' ');
  EXPECT_EQ(status(large), 413);
  EXPECT_EQ(status(body() + std::string(1000 - body().size(), ' ')), 200);
  std::string chunk = "3e9\r\n" + large + "\r\n0\r\n\r\n";
  auto answer =
      raw("POST /api/solve HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
          "application/json\r\nTransfer-Encoding: chunked\r\n\r\n" +
          chunk);
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 413"));
  // One that announces more than it could ever send is not waited for.
  answer =
      raw("POST /api/solve HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
          "Content-Length: 99999999999999\r\n\r\n" +
          std::string(100'000, 'x'));
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 413"));
}

TEST_F(ServerTest, AFullQueueIsAnsweredWith503) {
  ServerOptions options;
  options.max_rows = 1;
  options.max_waiting = 1;
  start(options);
  controls_->held = true;
  std::vector<std::thread> others;
  std::atomic<int> solved{0};
  for (int i = 0; i < 2; ++i) {
    others.emplace_back([&] { solved += status(body()) == 200; });
    ASSERT_TRUE(eventually([&] { return controls_->rows == 1 && health()["waiting"] == i; }));
  }
  auto r = solve(body());
  EXPECT_EQ(r->status, 503);
  EXPECT_EQ(r->get_header_value("Retry-After"), "2");
  EXPECT_THAT(r->body, HasSubstr("waiting"));
  controls_->held = false;
  for (auto& t : others) t.join();
  EXPECT_EQ(solved, 2);
}

TEST_F(ServerTest, TooManyStreamsAreAnsweredWith429) {
  ServerOptions options;
  options.max_streams = 1;
  start(options);
  controls_->held = true;
  auto stream = body(kPuzzle, "\"stream\": true");
  std::thread other([&] { EXPECT_EQ(status(stream), 200); });
  ASSERT_TRUE(eventually([&] { return controls_->rows == 1; }));
  EXPECT_EQ(status(stream), 429);
  controls_->held = false;
  EXPECT_EQ(status(body()), 200);
  other.join();
  EXPECT_TRUE(eventually([&] { return status(stream) == 200; }));  // the place is free again
}

TEST_F(ServerTest, TimeRunsOutWith503) {
  ServerOptions options;
  options.timeout = std::chrono::milliseconds(300);
  start(options);
  controls_->held = true;
  auto r = solve(body());
  EXPECT_EQ(r->status, 503);
  EXPECT_THAT(r->body, HasSubstr("no answer within 0.3 s"));
  auto s = solve(body(kPuzzle, "\"stream\": true"));
  EXPECT_EQ(s->status, 200);
  EXPECT_THAT(s->body, HasSubstr("event: error\ndata: {\"error\":\"[serve] no answer within"));
}

TEST_F(ServerTest, AFailingModelIsSaidSo) {
  start();
  controls_->fails = true;
  auto r = solve(body());
  EXPECT_EQ(r->status, 503);
  EXPECT_THAT(r->body, HasSubstr("no memory"));
}

TEST_F(ServerTest, AClientThatGoesAwayFreesItsWork) {
  start();
  controls_->milliseconds = 100;
  for (auto more : {"\"steps\": 64, \"stream\": true", "\"steps\": 64"}) {
    controls_->steps = 0;
    int fd = connect();
    auto text = post_text(body(kPuzzle, more));
    ASSERT_EQ(send(fd, text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
    ASSERT_TRUE(eventually([&] { return health()["running"] == 1; }));
    close(fd);
    EXPECT_TRUE(eventually([&] { return health()["running"] == 0; }));
    EXPECT_LT(controls_->steps, 64) << more;
  }
}

TEST_F(ServerTest, GarbageIsAnsweredOrDroppedAndTheServerGoesOn) {
  start();
  std::vector<std::string> garbage{
      "\r\n\r\n",
      "GET\r\n\r\n",
      std::string("\0\1\2\3\r\n\r\n", 8),
      "GET / HTTP/1.1\r\n\r\n",  // no Host
      "GET / HTTP/1.1\r\nHost: localhost\r\nRange: bytes=x\r\n\r\n",
      "GET /" + std::string(20'000, 'a') + " HTTP/1.1\r\nHost: localhost\r\n\r\n",
      "GET / HTTP/1.1\r\n" + std::string(900'000, 'a'),  // a header without an end
      "GET / HTTP/1.1\r\nHost: localhost\r\nX: " + std::string(900'000, 'a') + "\r\n\r\n",
      "POST /api/solve HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{",
      "POST /api/solve HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
      "POST /api/solve HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
      "Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
      "POST /api/solve HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; "
      "boundary=x\r\nContent-Length: 4\r\n\r\nabcd",
      "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
  };
  for (auto& g : garbage) {
    auto answer = raw(g);
    EXPECT_THAT(answer, testing::Not(StartsWith("HTTP/1.1 200"))) << g.substr(0, 80);
  }
  EXPECT_EQ(status(body(kSolved)), 200);
}

TEST_F(ServerTest, RefusedBodiesAreNotReadAsRequests) {
  start();
  auto inner = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
  auto answer = raw("POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 45\r\n\r\n" +
                    std::string(inner));
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 405"));
  EXPECT_EQ(answer.find("\"ok\""), answer.npos);
}

TEST_F(ServerTest, ManyClientsGetTheirOwnAnswers) {
  start();
  std::vector<std::thread> clients;
  std::atomic<int> right{0};
  for (int c = 0; c < 8; ++c) {
    clients.emplace_back([&, c] {
      for (int i = 0; i < 10; ++i) {
        std::string puzzle(16, '.');
        puzzle[(c * 2 + i) % 16] = static_cast<char>('1' + c % 4);
        auto r = solve(body(puzzle, i % 2 ? "\"stream\": true" : ""));
        right += r && r->status == 200 && r->body.find("\"answer\":\"" + puzzle) != r->body.npos;
      }
    });
  }
  for (auto& t : clients) t.join();
  EXPECT_EQ(right, 80);
}

TEST_F(ServerTest, ShowsRunsAsTheyGrow) {
  TempDir folder;
  std::filesystem::create_directories(folder / "project/one");
  auto log = folder / "project/one/metrics.jsonl";
  write_file(log, R"({"step": 1, "time": 1.0, "train/loss": 3.5})"
                  "\n");
  write_file(folder / "secret.txt", "not for clients");
  ServerOptions options;
  options.runs = std::string(folder / "");
  start(options);
  auto runs = [&] { return nlohmann::json::parse(client().Get("/api/runs")->body)["runs"]; };
  ASSERT_EQ(runs().size(), 1u);
  EXPECT_EQ(runs()[0]["name"], "project/one");
  EXPECT_EQ(runs()[0]["last_step"], 1);
  write_file(log, read_file(log) + R"({"step": 2, "time": 2.0, "train/loss": 3.0})"
                                   "\n{\"step\": 3, \"ti");
  EXPECT_EQ(runs()[0]["last_step"], 2);
  EXPECT_EQ(runs()[0]["series"]["train/loss"]["value"], nlohmann::json({3.5, 3.0}));
  std::filesystem::create_directories(folder / "two");
  write_file(folder / "two/metrics.jsonl", "no metrics at all\n\n");
  EXPECT_EQ(runs().size(), 1u);

  auto page = client().Get("/runs");
  ASSERT_EQ(page->status, 200);
  auto policy = page->get_header_value("Content-Security-Policy");
  EXPECT_THAT(policy, HasSubstr("script-src 'sha256-"));
  EXPECT_EQ(policy.find("unsafe"), policy.npos);
  EXPECT_EQ(client().Get("/runs/secret.txt")->status, 404);
  EXPECT_EQ(client().Get("/secret.txt")->status, 404);
}

TEST_F(ServerTest, WithoutRunsThereIsNoSuchPage) {
  start();
  EXPECT_EQ(client().Get("/runs")->status, 404);
  EXPECT_EQ(client().Get("/api/runs")->status, 404);
}

TEST_F(ServerTest, TwoServersCannotShareAPort) {
  start();
  ServerOptions options;
  options.port = port_;
  Server second({}, options);
  EXPECT_THROW(second.bind(), std::runtime_error);
}

}  // namespace
}  // namespace trm::serve
