#include "trm/checkpoint/npy.h"

#include <charconv>
#include <cstring>

#include "trm/io/text.h"

namespace trm {

std::optional<std::pair<DType, bool>> dtype_of_npy(std::string_view descriptor) {
  if (descriptor.size() < 3) return {};
  char order = descriptor[0];
  if (order != '<' && order != '>' && order != '|' && order != '=') return {};
  std::string_view type = descriptor.substr(1);
  for (size_t i = 0; i < kDTypes; ++i) {
    auto dtype = static_cast<DType>(i);
    if (!info(dtype).npy || type != info(dtype).npy + 1) continue;
    if (order == '|' && size_of(dtype) > 1 && dtype != DType::bfloat16) return {};
    return std::pair{dtype, order == '>' && size_of(dtype) > 1};
  }
  return {};
}

std::vector<uint64_t> column_major(const std::vector<uint64_t>& shape) {
  std::vector<uint64_t> strides(shape.size());
  uint64_t step = 1;
  for (size_t i = 0; i < shape.size(); ++i) {
    strides[i] = step;
    step *= shape[i] == 0 ? 1 : shape[i];
  }
  return strides;
}

namespace {

/// The header's Python literal, read strictly: {'descr': '<f4', 'fortran_order': False, 'shape':
/// (3, 4), }.
class HeaderParser {
 public:
  explicit HeaderParser(std::string_view text) : text_(text) {}

  void parse(Tensor& t) {
    bool seen[3] = {};
    bool fortran = false;
    expect('{');
    while (!accept('}')) {
      std::string_view key = quoted();
      expect(':');
      int which = key == "descr" ? 0 : key == "fortran_order" ? 1 : key == "shape" ? 2 : -1;
      if (which < 0 || seen[which]) damaged("a key that is unknown or there twice");
      seen[which] = true;
      if (which == 0) {
        if (peek() == '[') fail("[npy] arrays of records cannot be converted");
        std::string_view text = quoted();
        auto type = dtype_of_npy(text);
        if (!type) fail("[npy] arrays of type {} cannot be converted", printable(text));
        std::tie(t.dtype, t.swapped) = *type;
      } else if (which == 1) {
        fortran = word("True");
        if (!fortran && !word("False")) damaged("fortran_order is neither True nor False");
      } else {
        t.shape = shape();
      }
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    space();
    if (at_ != text_.size()) damaged("text after the header's end");
    if (!seen[0] || !seen[1] || !seen[2]) damaged("descr, fortran_order or shape is missing");
    checked_count(t.shape);
    t.strides = fortran ? column_major(t.shape) : row_major(t.shape);
  }

 private:
  [[noreturn]] static void damaged(const char* what) { fail("[npy] damaged header: {}", what); }
  void space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t'))
      ++at_;
  }
  char peek() {
    space();
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool accept(char c) {
    if (peek() != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!accept(c)) damaged("it is not the dict that NumPy writes");
  }
  bool word(std::string_view w) {
    space();
    if (text_.substr(at_, w.size()) != w) return false;
    at_ += w.size();
    return true;
  }
  std::string_view quoted() {
    char quote = peek();
    if (quote != '\'' && quote != '"') damaged("a name without quotes");
    size_t end = text_.find(quote, at_ + 1);
    if (end == text_.npos) damaged("a name without an end");
    std::string_view value = text_.substr(at_ + 1, end - at_ - 1);
    at_ = end + 1;
    return value;
  }
  std::vector<uint64_t> shape() {
    std::vector<uint64_t> dims;
    expect('(');
    bool comma = true;
    while (!accept(')')) {
      if (!comma) damaged("a shape without commas");
      space();
      uint64_t n = 0;
      auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), n);
      if (error != std::errc{}) damaged("a shape that is no list of sizes");
      at_ = static_cast<size_t>(end - text_.data());
      accept('L');  // Python 2
      dims.push_back(n);
      comma = accept(',');
    }
    if (dims.size() == 1 && !comma) damaged("a shape that is no tuple");
    return dims;
  }

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

Tensor read_npy(const Region& record, const Limits& limits) {
  uint8_t head[12] = {};
  if (record.size < 10) fail("[npy] {} bytes are too few for an array", record.size);
  record.read(0, head, std::min<uint64_t>(record.size, sizeof head));
  if (memcmp(head, "\x93NUMPY", 6) != 0)
    fail("[npy] not an .npy array: it does not start with \\x93NUMPY");
  if (head[6] < 1 || head[6] > 3) fail("[npy] version {} is unknown (1 to 3 are read)", head[6]);
  uint64_t begin = head[6] == 1 ? 10 : 12;
  uint64_t length = head[8] | head[9] << 8;
  if (begin == 12) length |= uint64_t{head[10]} << 16 | uint64_t{head[11]} << 24;
  if (length > limits.max_header_bytes)
    fail("[npy] a header of {} bytes is more than {} (--max-header-bytes)", length,
         limits.max_header_bytes);
  Region text = record.sub(begin, length);
  auto bytes = text.all();
  Tensor t;
  HeaderParser({reinterpret_cast<const char*>(bytes.data()), bytes.size()}).parse(t);
  uint64_t expected = checked_product(checked_count(t.shape), size_of(t.dtype), "the size");
  uint64_t data = begin + length;
  if (record.size - data != expected)
    fail(
        "[npy] shape {} of {} takes {} bytes, but {} follow the header: the file is cut off or "
        "damaged",
        shape_text(t.shape), name_of(t.dtype), expected, record.size - data);
  t.storage = record.sub(data, expected);
  t.storage_id = t.storage.offset;
  check_tensor(t, limits);
  return t;
}

std::string npy_header(DType dtype, const std::vector<uint64_t>& shape) {
  if (!info(dtype).npy) fail("[npy] {} has no place in .npy files", name_of(dtype));
  std::string dict = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': {}, }}",
                                 info(dtype).npy, shape_text(shape));
  bool wide = dict.size() > 65000;
  size_t head = wide ? 12 : 10;
  dict.append(63 - (head + dict.size()) % 64, ' ');
  dict += '\n';
  std::string out("\x93NUMPY", 6);
  out += wide ? '\x02' : '\x01';
  out += '\0';
  for (size_t i = 0; i < (wide ? 4u : 2u); ++i) out += static_cast<char>(dict.size() >> (8 * i));
  return out + dict;
}

}  // namespace trm
