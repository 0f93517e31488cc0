#include "cli/progress.h"

#include <algorithm>
#include <csignal>
#include <ctime>

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace trm::cli {

namespace {

constexpr double kPlainSeconds = 5;       // between plain lines
constexpr double kTerminalSeconds = 0.1;  // between redraws

std::atomic<bool> stop_asked{false};

int64_t first_asked = 0;  // milliseconds

void on_signal(int signal) {
  timespec t = {};
  clock_gettime(CLOCK_MONOTONIC, &t);
  int64_t now = t.tv_sec * 1000 + t.tv_nsec / 1000000;
  if (!stop_asked.exchange(true)) {
    first_asked = now;
  } else if (now - first_asked > 1000) {  // timeout(1) and launchers send each signal twice at once
    std::signal(signal, SIG_DFL);
    raise(signal);
  }
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

const std::atomic<bool>& stop_on_signal() {
  std::signal(SIGINT, on_signal);
  std::signal(SIGTERM, on_signal);
  return stop_asked;
}

std::string thousands(int64_t n) {
  return n < 1000 ? fmt::format("{}", n) : fmt::format("{},{:03}", thousands(n / 1000), n % 1000);
}

std::string duration(double seconds) {
  auto s = static_cast<int64_t>(seconds);
  return s < 3600 ? fmt::format("{}:{:02}", s / 60, s % 60)
                  : fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
}

ProgressLine::ProgressLine(std::FILE* to)
    : to_(to), terminal_(isatty(fileno(to))), last_shown_(Clock::now()) {}

bool ProgressLine::due() const {
  return seconds_since(last_shown_) >= (terminal_ ? kTerminalSeconds : kPlainSeconds);
}

void ProgressLine::show(double share, const std::string& text) {
  last_shown_ = Clock::now();
  if (!terminal_) {
    fmt::print(to_, "{}\n", text);
  } else {
    winsize size = {};
    int columns = ioctl(fileno(to_), TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;
    int width = std::clamp(columns - static_cast<int>(text.size()) - 9, 0, 40);
    int full = static_cast<int>(share * width);
    std::string bar;
    for (int i = 0; i < width; ++i) bar += i < full ? "█" : "░";
    fmt::print(to_, "\r\x1b[K{:3.0f}% {} {}", 100 * share, bar,
               text.substr(0, static_cast<size_t>(std::max(columns - width - 7, 0))));
    drawn_ = true;
  }
  std::fflush(to_);
}

void ProgressLine::count(std::string_view what, int64_t done, int64_t total) {
  bool begins = what != what_;
  if (begins) {
    clear();
    what_ = what;
    first_ = done;
    started_ = Clock::now();
  }
  if (done == total) return clear();
  if (!due() && !(begins && terminal_)) return;
  auto text = fmt::format("{} {}", what, thousands(done));
  if (total > 0) text += " of " + thousands(total);
  double rate = static_cast<double>(done - first_) / std::max(seconds_since(started_), 1e-9);
  if (rate > 0) {
    text += rate < 100 ? fmt::format(", {:.2g}/s", rate)
                       : fmt::format(", {}/s", thousands(static_cast<int64_t>(rate)));
    if (total > 0)
      text += fmt::format(", {} left", duration(static_cast<double>(total - done) / rate));
  }
  show(total > 0 ? static_cast<double>(done) / static_cast<double>(total) : 0, text);
}

void ProgressLine::clear() {
  if (drawn_) fmt::print(to_, "\r\x1b[K");
  drawn_ = false;
  std::fflush(to_);
}

}  // namespace trm::cli
