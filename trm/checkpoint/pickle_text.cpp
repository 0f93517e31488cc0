#include "trm/checkpoint/pickle_text.h"

#include <charconv>
#include <cstdint>

namespace trm {

std::string unescape_pickle(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\' || i + 1 == text.size()) {
      out += text[i];
      continue;
    }
    char c = text[++i];
    constexpr std::string_view from = "nrtabfv0\\'\"", to("\n\r\t\a\b\f\v\0\\'\"", 11);
    unsigned value = 0;
    if (c == 'x' && i + 2 < text.size() &&
        std::from_chars(&text[i + 1], &text[i + 1] + 2, value, 16).ptr == &text[i + 1] + 2) {
      out += static_cast<char>(value);
      i += 2;
    } else if (size_t k = from.find(c); k != from.npos) {
      out += to[k];
    } else {
      out += '\\';
      out += c;
    }
  }
  return out;
}

std::string decode_raw_unicode(std::string_view text) {
  std::string out;
  auto put = [&](uint32_t code) {
    if (code < 0x80) {
      out += static_cast<char>(code);
    } else if (code < 0x800) {
      out += {static_cast<char>(0xc0 | code >> 6), static_cast<char>(0x80 | (code & 0x3f))};
    } else if (code < 0x10000) {
      out += {static_cast<char>(0xe0 | code >> 12), static_cast<char>(0x80 | (code >> 6 & 0x3f)),
              static_cast<char>(0x80 | (code & 0x3f))};
    } else {
      out += {
          static_cast<char>(0xf0 | (code >> 18 & 7)), static_cast<char>(0x80 | (code >> 12 & 0x3f)),
          static_cast<char>(0x80 | (code >> 6 & 0x3f)), static_cast<char>(0x80 | (code & 0x3f))};
    }
  };
  for (size_t i = 0; i < text.size(); ++i) {
    size_t digits = text[i] != '\\' || i + 1 == text.size() ? 0
                    : text[i + 1] == 'u'                    ? 4
                    : text[i + 1] == 'U'                    ? 8
                                                            : 0;
    uint32_t code = 0;
    if (digits && i + 2 + digits <= text.size() &&
        std::from_chars(&text[i + 2], &text[i + 2] + digits, code, 16).ptr ==
            &text[i + 2] + digits) {
      put(code);
      i += 1 + digits;
    } else {
      put(static_cast<uint8_t>(text[i]));
    }
  }
  return out;
}
}  // namespace trm
