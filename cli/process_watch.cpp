#include "cli/process_watch.h"

#include <cstdio>

#include <fmt/format.h>
#include <unistd.h>

namespace trm::cli {

ProcessWatch::ProcessWatch(const Ranks& ranks, const std::string& advice)
    : watch_(ranks, [mine = ranks.rank(), advice](int gone) {
        fmt::print(stderr,
                   "trm: error: [distributed] the process of rank {} is gone, so rank {} ends too; "
                   "its own output says why{}\n",
                   gone, mine, advice);
        std::fflush(nullptr);
        _exit(1);
      }) {
  if (ranks.size() > 1) std::signal(SIGPIPE, SIG_IGN);
}

}  // namespace trm::cli
