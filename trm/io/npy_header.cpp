#include "trm/io/npy_header.h"

#include <charconv>

#include "trm/io/text.h"

namespace trm {

namespace {

constexpr size_t kMostDimensions = 64;

/// The header's Python literal, read strictly: {'descr': '<f4', 'fortran_order': False, 'shape':
/// (3, 4), }.
class Parser {
 public:
  Parser(std::string_view text, const std::string& where) : rest_(text), where_(where) {}

  NpyDescription parse() {
    NpyDescription d;
    bool has_descr = false, has_order = false, has_shape = false;
    expect('{');
    while (!accept('}')) {
      auto key = quoted();
      expect(':');
      if (key == "descr" && !has_descr) {
        has_descr = true;
        d.descr = quoted();
      } else if (key == "fortran_order" && !has_order) {
        has_order = true;
        d.fortran_order = boolean();
      } else if (key == "shape" && !has_shape) {
        has_shape = true;
        d.shape = shape();
      } else {
        damaged("unexpected or repeated key '{}'", printable(key));
      }
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    skip_blanks();
    if (!rest_.empty()) damaged("text after its dictionary");
    if (!has_descr || !has_order || !has_shape) damaged("it lacks descr, fortran_order or shape");
    return d;
  }

 private:
  template <class... Args>
  [[noreturn]] void damaged(fmt::format_string<Args...> text, Args&&... args) const {
    fail("{} damaged header: {}", where_, fmt::format(text, std::forward<Args>(args)...));
  }
  void skip_blanks() {
    auto blanks = rest_.find_first_not_of(" \n\t");
    rest_.remove_prefix(blanks == rest_.npos ? rest_.size() : blanks);
  }
  bool accept(char c) {
    skip_blanks();
    if (!rest_.starts_with(c)) return false;
    rest_.remove_prefix(1);
    return true;
  }
  void expect(char c) {
    if (accept(c)) return;
    damaged("'{}' expected, found {}", c,
            rest_.empty() ? "its end" : fmt::format("'{}'", printable(rest_.substr(0, 8))));
  }
  std::string quoted() {
    skip_blanks();
    if (rest_.starts_with('[')) fail("{} structured arrays, of records, are not read", where_);
    if (!rest_.starts_with('\'') && !rest_.starts_with('"')) damaged("a quoted string expected");
    size_t end = rest_.find(rest_[0], 1);
    if (end == rest_.npos) damaged("a string does not end");
    std::string text(rest_.substr(1, end - 1));
    rest_.remove_prefix(end + 1);
    return text;
  }
  bool boolean() {
    skip_blanks();
    for (bool value : {false, true}) {
      std::string_view word = value ? "True" : "False";
      if (!rest_.starts_with(word)) continue;
      rest_.remove_prefix(word.size());
      return value;
    }
    damaged("fortran_order is neither True nor False");
  }
  std::vector<uint64_t> shape() {
    std::vector<uint64_t> dimensions;
    expect('(');
    while (!accept(')')) {
      skip_blanks();
      uint64_t n = 0;
      auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), n);
      if (error != std::errc()) damaged("a dimension is not a whole number that fits");
      rest_.remove_prefix(static_cast<size_t>(end - rest_.data()));
      if (rest_.starts_with('L')) rest_.remove_prefix(1);  // Python 2
      dimensions.push_back(n);
      if (dimensions.size() > kMostDimensions) damaged("more than {} dimensions", kMostDimensions);
      if (accept(',')) continue;
      if (dimensions.size() == 1) damaged("(n) is no tuple, (n,) is");
      expect(')');
      break;
    }
    return dimensions;
  }

  std::string_view rest_;
  const std::string& where_;
};

}  // namespace

NpyPlace npy_place(std::string_view head, uint64_t most, const std::string& where) {
  if (head.size() < 10 || !head.starts_with("\x93NUMPY")) fail("{} not a NumPy .npy file", where);
  auto byte = [&](size_t i) { return static_cast<uint64_t>(static_cast<uint8_t>(head[i])); };
  if (byte(6) < 1 || byte(6) > 3 || byte(7) != 0) {
    fail("{} .npy version {}.{} is unknown (1 to 3 are read)", where, byte(6), byte(7));
  }
  NpyPlace place{byte(6) == 1 ? uint64_t{10} : uint64_t{12}, byte(8) | byte(9) << 8};
  if (head.size() < place.begin) fail("{} truncated in its header", where);
  if (place.begin == 12) place.length |= byte(10) << 16 | byte(11) << 24;
  if (place.length > most) {
    fail("{} a header of {} bytes is not plausible: more than {}", where, place.length, most);
  }
  return place;
}

NpyDescription parse_npy_description(std::string_view text, const std::string& where) {
  return Parser(text, where).parse();
}

std::string npy_header_text(std::string_view descr, const std::vector<uint64_t>& shape) {
  std::string dims;
  for (uint64_t d : shape) dims += fmt::format("{}{},", dims.empty() ? "" : " ", d);
  if (shape.size() > 1) dims.pop_back();  // (a, b), but (a,)
  std::string text =
      fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}", descr, dims);
  // NumPy leaves room for the first dimension to grow to 21 digits, then pads to 64 bytes.
  if (!shape.empty()) text.append(21 - fmt::formatted_size("{}", shape[0]), ' ');
  text.append(64 - (10 + text.size() + 1) % 64, ' ');
  text += '\n';
  std::string out("\x93NUMPY\x01\x00", 8);
  out += static_cast<char>(text.size() & 0xff);
  out += static_cast<char>(text.size() >> 8);
  return out + text;
}

}  // namespace trm
