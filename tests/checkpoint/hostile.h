// Files made to run code, to crash, to hang or to eat memory: each is refused with one line, in
// little memory, with nothing left behind and what was there untouched. The cases follow
// CVE-2025-32434, CVE-2026-24747, CVE-2025-1889/1944/1945, CVE-2025-10155/6/7, pytorch#184652 and
// PR#181310. `python3 benchmarks/hostile.py` prints their time and memory.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <vector>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/checkpoint/helpers.h"
#include "trm/checkpoint/output.h"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored \
    "-Wrestrict"  // false on "x" + std::string in g++ 12 (GCC bug 105651)
#endif

namespace trm::hostile {

namespace fs = std::filesystem;

inline std::string little(uint64_t value, int bytes) {
  std::string out;
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i));
  return out;
}

// Pieces of pickles.
inline const std::string kProto("\x80\x02", 2);
inline std::string global(const std::string& module, const std::string& name) {
  return "c" + module + "\n" + name + "\n";
}
inline std::string text(const std::string& s) { return "X" + little(s.size(), 4) + s; }
inline std::string integer(int64_t v) {
  return std::string("\x8a\x08", 2) + little(static_cast<uint64_t>(v), 8);
}
inline std::string ints(const std::vector<int64_t>& values) {
  std::string out = "(";
  for (int64_t v : values) out += integer(v);
  return out + "t";
}
inline std::string storage_id(const std::string& type, const std::string& key, int64_t count) {
  return "(" + text("storage") + global("torch", type) + text(key) + text("cpu") + integer(count) +
         "tQ";
}
inline std::string tensor(int64_t count, int64_t offset, const std::vector<int64_t>& shape,
                          const std::vector<int64_t>& strides,
                          const std::string& type = "FloatStorage") {
  return global("torch._utils", "_rebuild_tensor_v2") + "(" + storage_id(type, "0", count) +
         integer(offset) + ints(shape) + ints(strides) + "\x89" +
         global("collections", "OrderedDict") + ")RtR";
}
inline std::string dict_of(const std::string& value) {
  return kProto + "}" + text("w") + value + "s.";
}

inline std::string zip_of(const std::vector<std::pair<std::string, std::string>>& records) {
  TempDir dir;
  std::vector<ZipRecord> zip;
  for (auto& [name, data] : records) zip.push_back({name, data, nullptr});
  write_zip(dir / "z", zip, 1, {});
  return read_file(dir / "z");
}
/// A torch archive around `pickle`, with one storage of four floats.
inline std::string torch_file(const std::string& pickle,
                              const std::string& data = std::string(16, '\1')) {
  return zip_of({{"a/data.pkl", pickle},
                 {"a/byteorder", "little"},
                 {"a/data/0", data},
                 {"a/version", "3\n"}});
}
inline std::string safetensors(const std::string& header, size_t data) {
  return little(header.size(), 8) + header + std::string(data, '\0');
}
inline std::string npy(const std::string& dict, size_t data) {
  return std::string("\x93NUMPY\1\0", 8) + little(dict.size(), 2) + dict + std::string(data, '\0');
}
inline std::string replaced(std::string s, const std::string& from, const std::string& to,
                            bool last = false) {
  size_t at = last ? s.rfind(from) : s.find(from);
  EXPECT_NE(at, std::string::npos);
  return s.replace(at, from.size(), to);
}

struct Attack {
  std::string name;
  std::function<std::string()> file;
  std::string says;
};

/// Runs the program with its own resource use measured; killed after 60 s.
struct Measured {
  int exit_code;
  long megabytes;  // of the largest resident set
  double seconds;
  std::string err;
};
inline Measured run_measured(const std::vector<std::string>& arguments, const fs::path& err) {
  std::vector<char*> argv{const_cast<char*>(TRM_PROGRAM)};
  for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);
  auto start = std::chrono::steady_clock::now();
  pid_t child = fork();
  if (child == 0) {
    alarm(60);
    int fd = open(err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600),
        null = open("/dev/null", O_WRONLY);
    dup2(fd, 2);
    dup2(null, 1);
    execv(TRM_PROGRAM, argv.data());
    _exit(127);
  }
  int status = 0;
  rusage usage{};
  wait4(child, &status, 0, &usage);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), usage.ru_maxrss / 1024,
          std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(),
          read_file(err)};
}

#if defined(__SANITIZE_ADDRESS__)
constexpr long kMegabytes = 1024;  // the sanitizer keeps what was freed
#else
constexpr long kMegabytes = 256;
#endif

/// Runs `trm convert` on the file and checks all that the head of this header promises.
inline void expect_refused(const Attack& attack) {
  TempDir dir;
  fs::create_directory(dir / "in");
  write_file(dir / "in/file", attack.file());
  write_file(dir / "out.npz", "what was there");
  Measured ran =
      run_measured({"convert", (dir / "in/file").string(), (dir / "out.npz").string(), "--quiet"},
                   dir / "in/err");
  testing::Test::RecordProperty("milliseconds", static_cast<int>(1000 * ran.seconds));
  testing::Test::RecordProperty("megabytes", static_cast<int>(ran.megabytes));
  EXPECT_EQ(ran.exit_code, 1);
  EXPECT_LT(ran.megabytes, kMegabytes);
  EXPECT_TRUE(one_error_line(ran.err)) << ran.err;
  EXPECT_THAT(ran.err, testing::HasSubstr(attack.says));
  EXPECT_LT(ran.err.size(), 1000u) << "names from files are cut";
  EXPECT_EQ(read_file(dir / "out.npz"), "what was there");
  EXPECT_EQ(std::distance(fs::directory_iterator(dir.path()), {}), 2) << "nothing is left behind";
  EXPECT_FALSE(fs::exists("/tmp/trm-attack-ran"));
}

}  // namespace trm::hostile
