// What a file is that is no checkpoint, told from its first bytes.
#pragma once

#include <string>
#include <string_view>

namespace trm {

/// One sentence that names the kind of file and says what to do; `size` is the whole file's.
std::string diagnose(std::string_view head, uint64_t size);

}  // namespace trm
