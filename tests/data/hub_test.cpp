// Against tests/data/hub_server.py on the loopback; nothing leaves the machine.
#include "trm/data/hub.h"

#include <csignal>
#include <cstdlib>

#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/data/data_test_util.h"

namespace trm {
namespace {

using testing::HasSubstr;

/// The server as a child process; it ends with the object.
class Server {
 public:
  Server(const std::filesystem::path& root, const std::string& mode) {
    int out[2];
    if (pipe(out) != 0) throw std::runtime_error("pipe failed");
    pid_ = fork();
    if (pid_ == 0) {
      dup2(out[1], STDOUT_FILENO);
      close(out[0]);
      close(out[1]);
      execlp("python3", "python3", TRM_SOURCE_DIR "/tests/data/hub_server.py", root.c_str(),
             mode.c_str(), nullptr);
      _exit(127);
    }
    close(out[1]);
    std::string port;
    for (char c; read(out[0], &c, 1) == 1 && c != '\n';) port += c;
    close(out[0]);
    if (!port.empty()) endpoint_ = "http://127.0.0.1:" + port;
  }
  ~Server() {
    kill(pid_, SIGTERM);
    waitpid(pid_, nullptr, 0);
  }
  const std::string& endpoint() const { return endpoint_; }

 private:
  pid_t pid_;
  std::string endpoint_;
};

struct Hub {
  explicit Hub(const std::string& mode) {
    for (int i = 0; i < 200000; ++i) content += static_cast<char>('a' + i * 7 % 26);
    write_file(dir / "root/me/sudoku/train.csv", content);
    server = std::make_unique<Server>(dir / "root", mode);
    options.endpoint = server->endpoint();
    options.cache = dir / "cache";
  }
  std::filesystem::path get(const std::string& file = "train.csv") {
    return hub_dataset_file("me/sudoku", file, options);
  }
  TempDir dir;
  std::string content;
  std::unique_ptr<Server> server;
  HubOptions options;
};

#define NEEDS_SERVER(hub) \
  if (hub.server->endpoint().empty()) GTEST_SKIP() << "needs python3 for the test server"

TEST(Hub, AnExceptionOfTheProgressStopsIt) {
  Hub hub("plain");
  NEEDS_SERVER(hub);
  auto stop = [](std::string_view, int64_t, int64_t) { throw std::runtime_error("enough"); };
  auto get = [&] { hub_dataset_file("me/sudoku", "train.csv", hub.options, stop); };
  EXPECT_THAT(get, testing::ThrowsMessage<std::runtime_error>("enough"));
  EXPECT_EQ(read_file(hub.get()), hub.content) << "goes on";
}

TEST(Hub, DownloadsOnceAndKeeps) {
  Hub hub("plain");
  NEEDS_SERVER(hub);
  auto path = hub.get();
  EXPECT_EQ(read_file(path), hub.content);
  std::filesystem::remove(hub.dir / "root/me/sudoku/train.csv");
  EXPECT_EQ(hub.get(), path) << "the cache answers";
  hub.options.endpoint = "http://127.0.0.1:1";
  hub.options.offline = true;
  EXPECT_EQ(hub.get(), path);
}

TEST(Hub, FollowsRedirectsAndChecksTheSum) {
  Hub hub("redirect");
  NEEDS_SERVER(hub);
  EXPECT_EQ(read_file(hub.get()), hub.content);
  Hub damaged("damaged");
  EXPECT_THAT(error_of([&] { damaged.get(); }), HasSubstr("its SHA-256 is wrong"));
  EXPECT_FALSE(std::filesystem::exists(damaged.dir / "cache/datasets/me/sudoku/main/train.csv"));
}

TEST(Hub, GoesOnWhereItStopped) {
  for (std::string mode : {"cut", "norange"}) {
    SCOPED_TRACE(mode);
    Hub hub(mode);
    NEEDS_SERVER(hub);
    EXPECT_THAT(error_of([&] { hub.get(); }), HasSubstr("100000 bytes are kept: run again"));
    EXPECT_EQ(read_file(hub.get()), hub.content);
  }
  // All bytes had come, only the last step was missing.
  Hub hub("plain");
  write_file(hub.dir / "cache/datasets/me/sudoku/main/train.csv.part", hub.content);
  EXPECT_EQ(read_file(hub.get()), hub.content);
}

TEST(Hub, ErrorsSayWhatToDo) {
  Hub hub("plain");
  NEEDS_SERVER(hub);
  EXPECT_THAT(error_of([&] { hub.get("none.csv"); }), HasSubstr("check --source-repo"));
  EXPECT_THAT(error_of([&] { hub_dataset_file("../x", "train.csv", hub.options); }),
              HasSubstr("no name"));
  EXPECT_THAT(error_of([&] { hub_dataset_file("me/x?y", "train.csv", hub.options); }),
              HasSubstr("no name"));
  EXPECT_THAT(error_of([&] { hub.get("/etc/passwd"); }), HasSubstr("no name of a file"));
  hub.options.endpoint = "http://127.0.0.1:1";
  EXPECT_THAT(error_of([&] { hub.get(); }), HasSubstr("--input-dir"));
  hub.options.offline = true;
  EXPECT_THAT(error_of([&] { hub.get("other.csv"); }), HasSubstr("HF_HUB_OFFLINE"));
  hub.options.offline = false;
  hub.options.endpoint = "file://" + (hub.dir / "root").string();
  EXPECT_NE(error_of([&] { hub.get(); }), "") << "only http and https are spoken";
}

TEST(Hub, TokenIsSent) {
  Hub hub("private");
  NEEDS_SERVER(hub);
  EXPECT_THAT(error_of([&] { hub.get(); }), HasSubstr("set HF_TOKEN"));
  hub.options.token = "secret";
  EXPECT_EQ(read_file(hub.get()), hub.content);
}

TEST(Hub, EnvironmentDecides) {
  TempDir dir;
  write_file(dir / "token", "from-file\n");
  setenv("HF_ENDPOINT", "http://localhost:99/", 1);
  setenv("HF_HOME", dir.path().c_str(), 1);
  unsetenv("HF_TOKEN");
  auto o = hub_options_from_environment();
  EXPECT_EQ(o.endpoint, "http://localhost:99");
  EXPECT_EQ(o.token, "from-file");
  EXPECT_EQ(o.cache, dir / "trm");
  setenv("HF_TOKEN", "mine", 1);
  setenv("HF_HUB_OFFLINE", "1", 1);
  o = hub_options_from_environment();
  EXPECT_EQ(o.token, "mine");
  EXPECT_TRUE(o.offline);
  for (auto name : {"HF_ENDPOINT", "HF_HOME", "HF_TOKEN", "HF_HUB_OFFLINE"}) unsetenv(name);
  EXPECT_EQ(hub_options_from_environment().endpoint, "https://huggingface.co");
}

}  // namespace
}  // namespace trm
