// Shows how far the making of a data set is.
#pragma once

#include "trm/data/dataset_writer.h"

namespace trm::cli {

/// Shows how far a data set is, on stderr. After SIGINT or SIGTERM the next call throws
/// std::runtime_error, so that nothing half made stays behind.
Progress dataset_progress();

}  // namespace trm::cli
