// Strings as the text opcodes of pickle write them.
#pragma once

#include <string>
#include <string_view>

namespace trm {

/// The inside of a quoted string (protocol 0's STRING) with its backslashes resolved; those that
/// mean nothing stay.
std::string unescape_pickle(std::string_view text);

/// Protocol 0's UNICODE, Latin-1 with \uXXXX and \UXXXXXXXX for the rest, as UTF-8.
std::string decode_raw_unicode(std::string_view text);

}  // namespace trm
