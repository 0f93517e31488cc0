// What the checkpoint tests share.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

#include <sys/wait.h>

#include "tests/files.h"
#include "trm/mlx.h"

namespace trm {

/// The elements of an array in row-major order, as raw bytes.
inline std::string bytes_of(const mx::array& a) {
  mx::array flat = mx::contiguous(a);
  flat.eval();
  return {flat.data<char>(), flat.nbytes()};
}

struct Ran {
  int exit_code = -1;
  std::string out, err;
};

/// Runs the program with `arguments` (shell syntax; paths of the tests need no quoting). `before`
/// is shell text put in front, such as "ulimit -f 1;".
inline Ran run_trm(const std::string& arguments, const std::string& before = "") {
  TempDir dir;
  std::string command = before + " " TRM_PROGRAM " " + arguments + " >" + (dir / "out").string() +
                        " 2>" + (dir / "err").string();
  int status = std::system(("(" + command + ")").c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), read_file(dir / "out"),
          read_file(dir / "err")};
}

/// Whether `text` is the program's error: one line.
inline bool one_error_line(const std::string& text) {
  return text.starts_with("trm: error: ") && text.find('\n') == text.size() - 1;
}

inline std::filesystem::path fixtures() { return TRM_SOURCE_DIR "/tests/fixtures/checkpoint"; }

}  // namespace trm
