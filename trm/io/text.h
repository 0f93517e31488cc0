// Errors and names as text fit for one line on a terminal.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

#include <fmt/format.h>

namespace trm {

/// Throws std::runtime_error with the formatted text.
template <class... Args>
[[noreturn]] void fail(fmt::format_string<Args...> text, Args&&... args) {
  throw std::runtime_error(fmt::format(text, std::forward<Args>(args)...));
}

/// `name` with control characters, escape sequences and invalid UTF-8 written as \xNN, cut after
/// 200 bytes: names come from files and may not drive the terminal.
std::string printable(std::string_view name);

/// Whether `text` is valid UTF-8.
bool is_utf8(std::string_view text);

/// Shell-style match of the whole text: `*` any run, `?` any one character.
bool glob_match(std::string_view pattern, std::string_view text);

}  // namespace trm
