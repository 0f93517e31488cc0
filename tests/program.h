// Runs the program as a user would.
#pragma once

#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/checkpoint/helpers.h"

namespace trm {

struct Outcome {
  int exit_code = 0;  // or 128 + signal
  std::string out, err;
};

/// `trm ARGUMENTS`, with `input` on stdin.
inline Outcome run_program(const std::vector<std::string>& arguments,
                           const std::string& input = "") {
  TempDir folder;
  write_file(folder / "in", input);
  pid_t child = fork();
  if (child == 0) {
    dup2(open((folder / "in").c_str(), O_RDONLY), STDIN_FILENO);
    dup2(open((folder / "out").c_str(), O_WRONLY | O_CREAT, 0600), STDOUT_FILENO);
    dup2(open((folder / "err").c_str(), O_WRONLY | O_CREAT, 0600), STDERR_FILENO);
    std::vector<char*> argv{const_cast<char*>(TRM_PROGRAM)};
    for (auto& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
    argv.push_back(nullptr);
    execv(TRM_PROGRAM, argv.data());
    _exit(127);
  }
  int status = 0;
  waitpid(child, &status, 0);
  int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return {code, read_file(folder / "out"), read_file(folder / "err")};
}

/// The single error line of a failed run, or what was wrong with it as such.
inline std::string error_line(const Outcome& outcome) {
  if (outcome.exit_code != 1 && outcome.exit_code != 2) {
    return "exit code " + std::to_string(outcome.exit_code) + ": " + outcome.err;
  }
  auto& e = outcome.err;
  auto start = e.find("trm: error: ");
  if (start == std::string::npos || e.find('\n', start) != e.size() - 1)
    return "not one line: " + e;
  return e.substr(start, e.size() - start - 1);
}

}  // namespace trm
