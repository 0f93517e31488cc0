#include "trm/data/npy.h"

#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>
#include <stdexcept>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "trm/io/atomic_file.h"
#include "trm/io/text.h"

namespace trm {

namespace {

constexpr size_t kMaxHeader = 64 * 1024;  // NumPy writes 118 bytes for a plain array

[[noreturn]] void bad_file(const std::string& name, const std::string& what) {
  throw std::runtime_error(fmt::format("[npy] {}: {}", printable(name), what));
}

/// Reads the one Python literal that a header holds: a dict of descr, fortran_order and shape.
class HeaderText {
 public:
  HeaderText(std::string_view text, const std::string& name) : rest_(text), name_(name) {}

  NpyHeader parse() {
    NpyHeader h;
    bool has_descr = false, has_order = false, has_shape = false;
    expect('{');
    while (!accept('}')) {
      std::string key = quoted();
      expect(':');
      if (key == "descr" && !has_descr) {
        has_descr = true;
        descr(quoted(), h);
      } else if (key == "fortran_order" && !has_order) {
        has_order = true;
        h.fortran_order = boolean();
      } else if (key == "shape" && !has_shape) {
        has_shape = true;
        shape(h);
      } else {
        bad_file(name_, fmt::format("unexpected or repeated header key '{}'", printable(key)));
      }
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    skip_blanks();
    if (!rest_.empty()) bad_file(name_, "the header has text after its dictionary");
    if (!has_descr || !has_order || !has_shape) {
      bad_file(name_, "the header lacks descr, fortran_order or shape");
    }
    return h;
  }

 private:
  void skip_blanks() {
    while (!rest_.empty() && (rest_[0] == ' ' || rest_[0] == '\n')) rest_.remove_prefix(1);
  }
  bool accept(char c) {
    skip_blanks();
    if (rest_.empty() || rest_[0] != c) return false;
    rest_.remove_prefix(1);
    return true;
  }
  void expect(char c) {
    if (!accept(c)) {
      auto found = rest_.empty() ? "its end" : fmt::format("'{}'", printable(rest_.substr(0, 8)));
      bad_file(name_, fmt::format("malformed header: '{}' expected, found {}", c, found));
    }
  }
  std::string quoted() {
    skip_blanks();
    if (rest_.empty() || (rest_[0] != '\'' && rest_[0] != '"')) {
      if (!rest_.empty() && rest_[0] == '[') bad_file(name_, "structured arrays are not supported");
      bad_file(name_, "malformed header: a quoted string expected");
    }
    size_t end = rest_.find(rest_[0], 1);
    if (end == std::string_view::npos) bad_file(name_, "malformed header: a string does not end");
    std::string s(rest_.substr(1, end - 1));
    rest_.remove_prefix(end + 1);
    return s;
  }
  bool boolean() {
    skip_blanks();
    for (bool value : {false, true}) {
      std::string_view word = value ? "True" : "False";
      if (rest_.starts_with(word)) {
        rest_.remove_prefix(word.size());
        return value;
      }
    }
    bad_file(name_, "malformed header: fortran_order is neither True nor False");
  }
  void descr(const std::string& d, NpyHeader& h) {
    if (d.size() == 3 && d[0] == '>' && d[2] != '1') {
      bad_file(name_, fmt::format("big-endian data ('{}') is not supported", printable(d)));
    }
    if (d.size() == 3 && std::strchr("<|=>", d[0]) && std::strchr("biuf", d[1]) &&
        std::strchr("1248", d[2])) {
      h.kind = d[1];
      h.item_size = d[2] - '0';
      if ((h.kind != 'b' || h.item_size == 1) && (h.kind != 'f' || h.item_size > 1)) return;
    }
    bad_file(name_, fmt::format("dtype '{}' is not supported (bool, integers and floats are)",
                                printable(d)));
  }
  void shape(NpyHeader& h) {
    expect('(');
    while (!accept(')')) {
      skip_blanks();
      int64_t n = 0;
      auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), n);
      if (error != std::errc() || n < 0) {
        bad_file(name_, "malformed header: a dimension is not a whole number that fits");
      }
      rest_.remove_prefix(static_cast<size_t>(end - rest_.data()));
      h.shape.push_back(n);
      if (h.shape.size() > 32) bad_file(name_, "more than 32 dimensions");
      if (!accept(',')) {
        if (h.shape.size() == 1) bad_file(name_, "malformed header: (n) is no tuple, (n,) is");
        expect(')');
        break;
      }
    }
  }

  std::string_view rest_;
  const std::string& name_;
};

size_t read_le(std::string_view bytes, size_t at, size_t size) {
  size_t value = 0;
  for (size_t i = 0; i < size; ++i) {
    value |= static_cast<size_t>(static_cast<uint8_t>(bytes[at + i])) << (8 * i);
  }
  return value;
}

/// Elements as T, each within [low, high].
template <class From, class T>
std::vector<T> convert(const uint8_t* data, int64_t count, int64_t low, int64_t high,
                       const NpyFile& file) {
  std::vector<T> out(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    From v;
    std::memcpy(&v, data + static_cast<size_t>(i) * sizeof(From), sizeof(From));
    bool above = sizeof(From) == 8 && std::is_unsigned_v<From> &&
                 static_cast<uint64_t>(v) > static_cast<uint64_t>(INT64_MAX);
    if (above || static_cast<int64_t>(v) < low || static_cast<int64_t>(v) > high) {
      bad_file(file.name(), fmt::format("element {} is {}, outside {}..{}", i, +v, low, high));
    }
    out[static_cast<size_t>(i)] = static_cast<T>(v);
  }
  return out;
}

}  // namespace

int64_t NpyHeader::count() const {
  int64_t n = 1;
  for (int64_t d : shape) n *= d;
  return n;
}

std::string NpyHeader::dtype() const {
  if (kind == 'b') return "bool";
  return fmt::format("{}{}", kind == 'i' ? "int" : kind == 'u' ? "uint" : "float", 8 * item_size);
}

NpyHeader parse_npy_header(std::string_view bytes, const std::string& name) {
  if (bytes.size() < 10 || bytes.substr(0, 6) != std::string_view("\x93NUMPY", 6)) {
    bad_file(name, "not a NumPy .npy file");
  }
  int version = static_cast<uint8_t>(bytes[6]);
  if (version < 1 || version > 3 || bytes[7] != 0) {
    bad_file(name,
             fmt::format(".npy version {}.{} is unknown", version, static_cast<int>(bytes[7])));
  }
  size_t start = version == 1 ? 10 : 12;
  if (bytes.size() < start) bad_file(name, "truncated in its header");
  size_t length = read_le(bytes, 8, start - 8);
  if (length > kMaxHeader)
    bad_file(name, fmt::format("a header of {} bytes is not plausible", length));
  if (bytes.size() - start < length) bad_file(name, "truncated in its header");
  NpyHeader h = HeaderText(bytes.substr(start, length), name).parse();
  h.data_offset = start + length;
  // The product of the other dimensions must fit even where one of them is 0.
  int64_t count = 1;
  for (int64_t d : h.shape) {
    if (d > 0 && __builtin_mul_overflow(count, d, &count)) bad_file(name, "the shape is too large");
  }
  if (count > INT64_MAX / h.item_size) bad_file(name, "the shape is too large");
  return h;
}

std::string npy_header(char kind, int item_size, std::span<const int64_t> shape) {
  std::string dims;
  for (int64_t d : shape) dims += fmt::format("{}{}", dims.empty() ? "" : " ", d) + ",";
  if (shape.size() > 1) dims.pop_back();  // (a, b), but (a,)
  std::string text = fmt::format("{{'descr': '{}{}{}', 'fortran_order': False, 'shape': ({}), }}",
                                 item_size == 1 ? '|' : '<', kind, item_size, dims);
  // NumPy leaves room for the first dimension to grow to 21 digits, then pads to 64 bytes.
  if (!shape.empty()) text.append(21 - fmt::formatted_size("{}", shape[0]), ' ');
  size_t padding = 64 - (10 + text.size() + 1) % 64;
  text.append(padding, ' ');
  text += '\n';
  std::string out("\x93NUMPY\x01\x00", 8);
  out += static_cast<char>(text.size() & 0xff);
  out += static_cast<char>(text.size() >> 8);
  return out + text;
}

NpyFile::NpyFile(const std::filesystem::path& path) : name_(path.string()) {
  int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) bad_file(name_, fmt::format("cannot open: {}", strerror(errno)));
  struct stat st {};
  if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
    close(fd);
    bad_file(name_, "not a regular file");
  }
  size_ = static_cast<size_t>(st.st_size);
  if (size_ == 0) {
    close(fd);
    bad_file(name_, "empty file");
  }
  void* map = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd, 0);
  int error = errno;
  close(fd);
  if (map == MAP_FAILED) bad_file(name_, fmt::format("cannot map: {}", strerror(error)));
  map_ = static_cast<const uint8_t*>(map);
  try {
    header_ = parse_npy_header({reinterpret_cast<const char*>(map_), size_}, name_);
    size_t expected = static_cast<size_t>(header_.count()) * static_cast<size_t>(header_.item_size);
    size_t found = size_ - header_.data_offset;
    if (found != expected) {
      bad_file(name_, fmt::format("its shape needs {} bytes of data and the file has {}", expected,
                                  found));
    }
    if (header_.fortran_order && header_.shape.size() > 1) {
      bad_file(name_, "Fortran order is not supported; save np.ascontiguousarray of it");
    }
  } catch (...) {
    munmap(const_cast<uint8_t*>(map_), size_);
    throw;
  }
}

NpyFile::~NpyFile() {
  if (map_) munmap(const_cast<uint8_t*>(map_), size_);
}

NpyFile::NpyFile(NpyFile&& other) noexcept
    : name_(std::move(other.name_)),
      map_(std::exchange(other.map_, nullptr)),
      size_(other.size_),
      header_(std::move(other.header_)) {}

template <class T>
std::vector<T> NpyFile::read(int64_t low, int64_t high) const {
  int64_t n = header_.count();
  switch (header_.kind << 8 | header_.item_size) {
    case 'b' << 8 | 1:
    case 'u' << 8 | 1:
      return convert<uint8_t, T>(data(), n, low, high, *this);
    case 'u' << 8 | 2:
      return convert<uint16_t, T>(data(), n, low, high, *this);
    case 'u' << 8 | 4:
      return convert<uint32_t, T>(data(), n, low, high, *this);
    case 'u' << 8 | 8:
      return convert<uint64_t, T>(data(), n, low, high, *this);
    case 'i' << 8 | 1:
      return convert<int8_t, T>(data(), n, low, high, *this);
    case 'i' << 8 | 2:
      return convert<int16_t, T>(data(), n, low, high, *this);
    case 'i' << 8 | 4:
      return convert<int32_t, T>(data(), n, low, high, *this);
    case 'i' << 8 | 8:
      return convert<int64_t, T>(data(), n, low, high, *this);
    default:
      bad_file(name_, fmt::format("holds {}, whole numbers are needed", header_.dtype()));
  }
}
template std::vector<uint8_t> NpyFile::read(int64_t, int64_t) const;
template std::vector<int32_t> NpyFile::read(int64_t, int64_t) const;
template std::vector<int64_t> NpyFile::read(int64_t, int64_t) const;

template <class T>
void write_npy(const std::filesystem::path& path, std::span<const T> values,
               std::span<const int64_t> shape) {
  int64_t count = 1;
  for (int64_t d : shape) count *= d;
  if (count != static_cast<int64_t>(values.size())) {
    throw std::invalid_argument(
        fmt::format("[npy] {} values do not fill a shape of {}", values.size(), count));
  }
  constexpr char kind = std::is_floating_point_v<T> ? 'f' : std::is_signed_v<T> ? 'i' : 'u';
  AtomicFile file(path);
  file.write(npy_header(kind, sizeof(T), shape));
  file.write(values.data(), values.size_bytes());
  file.commit();
}
#define TRM_WRITE_NPY(T)                                                       \
  template void write_npy<T>(const std::filesystem::path&, std::span<const T>, \
                             std::span<const int64_t>)
TRM_WRITE_NPY(uint8_t);
TRM_WRITE_NPY(int32_t);
TRM_WRITE_NPY(int64_t);
TRM_WRITE_NPY(float);
TRM_WRITE_NPY(double);
#undef TRM_WRITE_NPY

}  // namespace trm
