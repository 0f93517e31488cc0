#include "trm/data/npy.h"

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "trm/io/atomic_file.h"
#include "trm/io/npy_header.h"
#include "trm/io/text.h"

namespace trm {

namespace {

constexpr size_t kMaxHeader = 64 * 1024;  // NumPy writes 118 bytes for a plain array

[[noreturn]] void bad_file(const std::string& name, const std::string& what) {
  throw std::runtime_error(fmt::format("[npy] {}: {}", printable(name), what));
}

/// kind and item_size of `h` from `d`, such as "<i4".
void read_descr(const std::string& d, NpyHeader& h, const std::string& name) {
  if (d.size() == 3 && d[0] == '>' && d[2] != '1') {
    bad_file(name, fmt::format("big-endian data ('{}') is not supported", printable(d)));
  }
  if (d.size() == 3 && std::strchr("<|=>", d[0]) && std::strchr("biuf", d[1]) &&
      std::strchr("1248", d[2])) {
    h.kind = d[1];
    h.item_size = d[2] - '0';
    if ((h.kind != 'b' || h.item_size == 1) && (h.kind != 'f' || h.item_size > 1)) return;
  }
  bad_file(name, fmt::format("dtype '{}' is not supported (bool, integers and floats are)",
                             printable(d)));
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
  auto where = fmt::format("[npy] {}:", printable(name));
  auto place = npy_place(bytes.substr(0, 12), kMaxHeader, where);
  if (bytes.size() - place.begin < place.length) bad_file(name, "truncated in its header");
  auto description = parse_npy_description(bytes.substr(place.begin, place.length), where);
  NpyHeader h;
  read_descr(description.descr, h, name);
  h.fortran_order = description.fortran_order;
  h.data_offset = place.begin + place.length;
  // The product of the other dimensions must fit even where one of them is 0.
  int64_t count = 1;
  for (uint64_t d : description.shape) {
    if (d > 0 && __builtin_mul_overflow(count, d, &count)) bad_file(name, "the shape is too large");
    h.shape.push_back(static_cast<int64_t>(d));
  }
  if (count > INT64_MAX / h.item_size) bad_file(name, "the shape is too large");
  return h;
}

std::string npy_header(char kind, int item_size, std::span<const int64_t> shape) {
  auto descr = fmt::format("{}{}{}", item_size == 1 ? '|' : '<', kind, item_size);
  return npy_header_text(descr, {shape.begin(), shape.end()});
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
