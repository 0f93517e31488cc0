#include "trm/io/text.h"

#include <algorithm>
#include <cstdint>

namespace trm {

namespace {
/// Length of the valid UTF-8 sequence at the front of `s`, 0 when there is none.
size_t utf8_length(std::string_view s) {
  auto byte = [&](size_t i) { return static_cast<uint8_t>(s[i]); };
  uint8_t b = byte(0);
  if (b < 0x80) return 1;
  size_t n = b >= 0xc2 && b < 0xe0 ? 2 : (b & 0xf0) == 0xe0 ? 3 : b >= 0xf0 && b < 0xf5 ? 4 : 0;
  if (n == 0 || s.size() < n) return 0;
  uint32_t code = b & (0xff >> (n + 1));
  for (size_t i = 1; i < n; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
    code = code << 6 | (byte(i) & 0x3f);
  }
  bool overlong = (n == 3 && code < 0x800) || (n == 4 && code < 0x10000);
  bool surrogate = code >= 0xd800 && code < 0xe000;
  return overlong || surrogate || code > 0x10ffff ? 0 : n;
}
}  // namespace

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    size_t n = utf8_length(text);
    if (n == 0) return false;
    text.remove_prefix(n);
  }
  return true;
}

std::string printable(std::string_view name) {
  constexpr size_t kLongest = 200;
  std::string out;
  while (!name.empty() && out.size() < kLongest) {
    size_t n = utf8_length(name);
    auto first = static_cast<uint8_t>(name[0]);
    // 0xc2 0x80..0x9f are the C1 control characters; 0xe2 0x80 holds the direction overrides.
    bool control = first < 0x20 || first == 0x7f ||
                   (n == 2 && first == 0xc2 && static_cast<uint8_t>(name[1]) < 0xa0) ||
                   (n == 3 && first == 0xe2 && static_cast<uint8_t>(name[1]) == 0x80);
    if (n == 0 || control) {
      n = std::max<size_t>(n, 1);
      for (char c : name.substr(0, n)) out += fmt::format("\\x{:02x}", static_cast<uint8_t>(c));
    } else {
      out += name.substr(0, n);
    }
    name.remove_prefix(n);
  }
  if (!name.empty()) out += "...";
  return out;
}

bool glob_match(std::string_view pattern, std::string_view text) {
  size_t p = 0, t = 0, star = std::string_view::npos, mark = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      mark = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++mark;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

}  // namespace trm
