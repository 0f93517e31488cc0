#include "cli/dataset_progress.h"

#include <memory>

#include "cli/progress.h"
#include "trm/io/text.h"

namespace trm::cli {

Progress dataset_progress() {
  return [line = std::make_shared<ProgressLine>(stderr), &stop = stop_on_signal()](
             std::string_view what, int64_t done, int64_t total) {
    if (stop) fail("[dataset] stopped by a signal while {}", what);
    line->count(what, done, total);
  };
}

}  // namespace trm::cli
