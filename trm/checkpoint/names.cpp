#include "trm/checkpoint/names.h"

#include <algorithm>
#include <string_view>

namespace trm {

std::string strip_orig_mod(const std::string& name) {
  std::string out;
  size_t begin = 0;
  while (begin <= name.size()) {
    size_t end = std::min(name.find('.', begin), name.size());
    std::string_view part = std::string_view(name).substr(begin, end - begin);
    if (part != "_orig_mod") {
      if (!out.empty()) out += '.';
      out += part;
    }
    begin = end + 1;
  }
  return out.empty() ? name : out;
}

}  // namespace trm
