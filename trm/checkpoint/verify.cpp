// Checks a conversion by other means than those it was made with: elements are found one by one
// from their index, and expected values computed one by one.
#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>
#include <map>
#include <mutex>
#include <thread>
#include <unordered_map>

#include <libdeflate.h>

#include "trm/checkpoint/convert.h"
#include "trm/checkpoint/shards.h"
#include "trm/checkpoint/values.h"
#include "trm/checkpoint/zip_reader.h"
#include "trm/io/text.h"

namespace trm {

namespace {

/// Raw source elements in row-major order, each found by its own address.
class PlainReader {
 public:
  explicit PlainReader(const Tensor& t) : t_(t), item_(size_of(t.dtype)) {
    contiguous_ = true;
    uint64_t step = 1;
    for (size_t d = t.shape.size(); d-- > 0;) {
      if (t.shape[d] != 1 && t.strides[d] != step) contiguous_ = false;
      step *= t.shape[d];
    }
  }
  void read(uint64_t first, uint64_t n, std::byte* out) {
    if (contiguous_) return t_.storage.read((t_.offset + first) * item_, out, n * item_);
    for (uint64_t i = 0; i < n; ++i) {
      uint64_t rest = first + i, at = t_.offset;
      for (size_t d = t_.shape.size(); d-- > 0;) {
        at += rest % t_.shape[d] * t_.strides[d];
        rest /= t_.shape[d];
      }
      memcpy(out + i * item_, window(at * item_), item_);
    }
  }

 private:
  /// Bytes at `at`, through a window of the storage.
  const std::byte* window(uint64_t at) {
    constexpr uint64_t kWindow = 1 << 22;
    if (at < begin_ || at + item_ > begin_ + window_.size()) {
      // A small storage is held whole; in a large one, far apart elements are read alone.
      bool all = t_.storage.size <= kWindow;
      begin_ = all ? 0 : at;
      uint64_t size =
          all ? t_.storage.size
              : std::min<uint64_t>(misses_++ < 64 ? 65536 : item_, t_.storage.size - at);
      window_.resize(size);
      t_.storage.read(begin_, window_.data(), size);
    }
    return window_.data() + (at - begin_);
  }

  const Tensor& t_;
  size_t item_;
  bool contiguous_;
  uint64_t begin_ = 0, misses_ = 0;
  std::vector<std::byte> window_;
};

template <class T>
T at(const std::byte* p, uint64_t i) {
  T value;
  memcpy(&value, p + i * sizeof(T), sizeof(T));
  return value;
}

/// The element as the tensor means it: byte order, conj and neg applied, true as 1.
void mend(const Tensor& t, std::byte* p, uint64_t n) {
  if (t.dtype == DType::bool_) {
    std::replace_if(
        p, p + n, [](std::byte b) { return b != std::byte{0}; }, std::byte{1});
    return;
  }
  const size_t item = size_of(t.dtype), part = info(t.dtype).part;
  for (uint64_t i = 0; i < n; ++i) {
    std::byte* e = p + i * item;
    for (size_t k = 0; k < item; k += part) {
      if (t.swapped) std::reverse(e + k, e + k + part);
      bool imaginary = is_complex(t.dtype) && k == part;
      bool flip = t.negative != (t.conjugate && imaginary);
      if (flip && t.dtype >= DType::float16) e[k + part - 1] ^= std::byte{0x80};
    }
    if (t.negative && t.dtype < DType::float16) {
      unsigned carry = 1;  // two's complement, byte by byte
      for (size_t k = 0; k < item; ++k) {
        carry += static_cast<uint8_t>(~e[k]);
        e[k] = static_cast<std::byte>(carry & 0xff);
        carry >>= 8;
      }
    }
  }
}

double real_value(DType dtype, const std::byte* p, uint64_t i) {
  switch (dtype) {
    case DType::float16:
      return float_of_half(at<uint16_t>(p, i));
    case DType::bfloat16:
      return float_of_bfloat16(at<uint16_t>(p, i));
    case DType::float32:
      return at<float>(p, i);
    case DType::float64:
      return at<double>(p, i);
    case DType::int64:
      return static_cast<double>(at<int64_t>(p, i));
    case DType::qint8:
      return at<int8_t>(p, i);
    case DType::quint8:
      return at<uint8_t>(p, i);
    case DType::qint32:
      return at<int32_t>(p, i);
    default:
      return float_of_float8(dtype, at<uint8_t>(p, i));
  }
}

double parameter(const Tensor& t, uint64_t i) {
  std::byte raw[16];
  PlainReader(t).read(i, 1, raw);
  mend(t, raw, 1);
  return real_value(t.dtype, raw, 0);
}

double dequantized(const Tensor& t, const std::byte* p, uint64_t i, uint64_t index) {
  const Quantization& q = *t.quantization;
  double scale = q.scale, zero = static_cast<double>(q.zero_point);
  bool whole = true;
  if (q.scales) {
    uint64_t inner = 1;
    for (size_t d = q.axis + 1; d < t.shape.size(); ++d) inner *= t.shape[d];
    uint64_t channel = index / inner % t.shape[q.axis];
    scale = parameter(*q.scales, channel);
    zero = parameter(*q.zero_points, channel);
    whole = q.zero_points->dtype == DType::int64;
  }
  double value = real_value(t.dtype, p, i);
  if (q.scales && whole) return static_cast<float>((value - zero) * scale);
  float difference = whole ? static_cast<float>(value - zero)
                           : static_cast<float>(value) - static_cast<float>(zero);
  return difference * static_cast<float>(scale);
}

/// Index of the first element that is not what it should be. NaNs need only be NaNs once converted.
std::optional<uint64_t> first_difference(const ConvertedTensor& c, uint64_t first, std::byte* in,
                                         const std::byte* out, uint64_t n) {
  const Tensor& t = c.tensor;
  if (c.dtype == t.dtype && !is_quantized(t.dtype)) {
    const size_t item = size_of(t.dtype);
    if (memcmp(in, out, n * item) == 0) return {};
    uint64_t i = 0;
    while (memcmp(in + i * item, out + i * item, item) == 0) ++i;
    return i;
  }
  if (t.dtype == DType::bfloat16 && c.dtype == DType::float32) {
    // The upper half is the source's bits, the lower half zero.
    uint32_t any = 0;
    for (uint64_t i = 0; i < n; ++i)
      any |= at<uint32_t>(out, i) - uint32_t{0x10000} * at<uint16_t>(in, i);
    if (any == 0) return {};
  }
  bool complex = is_complex(t.dtype);
  for (uint64_t i = 0; i < n * (complex ? 2 : 1); ++i) {
    DType from = t.dtype == DType::complex32    ? DType::float16
                 : t.dtype == DType::complex128 ? DType::float64
                                                : t.dtype;
    double want = is_quantized(from) ? dequantized(t, in, i, first + i) : real_value(from, in, i);
    DType to = complex ? DType::float32 : c.dtype;
    double got = real_value(to, out, i);
    double rounded = to == DType::float64   ? want
                     : to == DType::float32 ? static_cast<double>(static_cast<float>(want))
                     : to == DType::float16
                         ? double{float_of_half(half_of_float(static_cast<float>(want)))}
                         : double{float_of_bfloat16(bfloat16_of_float(static_cast<float>(want)))};
    bool same = std::isnan(rounded) ? std::isnan(got)
                                    : rounded == got && std::signbit(rounded) == std::signbit(got);
    if (!same) return complex ? i / 2 : i;
  }
  return {};
}

/// CRC-32 of `bytes` from `offset` on.
uint32_t crc_of(const Source& source, uint64_t offset, uint64_t bytes, uint32_t crc = 0) {
  std::vector<std::byte> buffer(std::min<uint64_t>(1 << 20, bytes));
  for (uint64_t done = 0; done < bytes;) {
    uint64_t n = std::min<uint64_t>(buffer.size(), bytes - done);
    source->read(offset + done, buffer.data(), n);
    crc = libdeflate_crc32(crc, buffer.data(), n);
    done += n;
  }
  return crc;
}

/// The data of a tensor in the output: where, and the CRC of what was compared.
struct DataCrc {
  uint64_t bytes;
  uint32_t crc;
};

/// The CRC of every record of a zip file, as python's zipfile checks it. Data at a place in `known`
/// were read already.
void check_crcs(const std::filesystem::path& path, const Limits& limits,
                const std::map<uint64_t, DataCrc>& known, std::vector<Difference>& out) {
  Source source = open_file(path);
  ZipReader zip(source, limits, false);
  for (const ZipEntry& e : zip.entries()) {
    auto data = known.lower_bound(e.offset);
    bool have = data != known.end() && data->first + data->second.bytes == e.offset + e.size;
    uint64_t head = have ? data->first - e.offset : e.size;
    uint32_t crc = crc_of(source, e.offset, head);
    if (have) crc = combine_crc(crc, data->second.crc, data->second.bytes);
    if (crc != e.crc) out.push_back({e.name, "the record's CRC is wrong"});
  }
}

/// A large output was written around the system's cache, and is read so.
Source open_output(const std::filesystem::path& path, const ConvertOptions& options) {
  return std::filesystem::file_size(path) >= options.write.direct_from ? open_file_uncached(path)
                                                                       : open_file(path);
}

}  // namespace

VerifyReport verify_conversion(const std::filesystem::path& input,
                               const std::filesystem::path& output, const ConvertOptions& options) {
  Conversion plan = plan_conversion(input, options);
  SourceFile written = output.extension() == ".json" ? read_shards(output, {})
                                                     : open_source(open_output(output, options),
                                                                   {".", options.source.limits});
  VerifyReport report;
  report.source_keys = plan.tensors.size();
  report.output_keys = written.weights.tensors.size();
  std::unordered_map<std::string_view, const Tensor*> by_name;
  for (const NamedTensor& t : written.weights.tensors) by_name.emplace(t.name, &t.tensor);
  struct Chunk {
    const ConvertedTensor* source;
    const Tensor* output;
    uint64_t first, n;
    uint32_t crc = 0;  // of the output's bytes
  };
  const bool with_crc = options.format != OutputFormat::safetensors;
  std::vector<Chunk> chunks;
  constexpr uint64_t kStep = 1 << 19;
  for (const ConvertedTensor& t : plan.tensors) {
    auto found = by_name.find(t.name);
    if (found == by_name.end()) {
      report.differences.push_back({t.name, "is not in the output"});
      continue;
    }
    const Tensor& other = *found->second;
    by_name.erase(found);
    if (other.dtype != t.dtype || other.shape != t.tensor.shape) {
      report.differences.push_back(
          {t.name, fmt::format("is {} {}, not {} {}", name_of(other.dtype), shape_text(other.shape),
                               name_of(t.dtype), shape_text(t.tensor.shape))});
      continue;
    }
    for (uint64_t first = 0, count = t.tensor.count(); first < count; first += kStep)
      chunks.push_back({&t, &other, first, std::min(kStep, count - first)});
    report.compared_bytes += other.storage.size;
  }
  for (auto& [name, tensor] : by_name)
    report.differences.push_back({std::string(name), "is only in the output"});
  uint64_t most_in = 0, most_out = 0;
  for (const Chunk& c : chunks) {
    most_in = std::max(most_in, c.n * size_of(c.source->tensor.dtype));
    most_out = std::max(most_out, c.n * size_of(c.output->dtype));
  }
  std::atomic<size_t> next{0};
  std::mutex lock;
  std::exception_ptr error;
  auto work = [&] {
    std::vector<std::byte> in(most_in), out(most_out);
    const Tensor* current = nullptr;
    std::optional<PlainReader> reader;
    try {
      for (size_t i = next++; i < chunks.size(); i = next++) {
        Chunk& c = chunks[i];
        if (current != &c.source->tensor) reader.emplace(*(current = &c.source->tensor));
        reader->read(c.first, c.n, in.data());
        const Tensor& t = c.source->tensor;
        if (t.swapped || t.conjugate || t.negative || t.dtype == DType::bool_)
          mend(t, in.data(), c.n);
        const size_t item = size_of(c.output->dtype);
        c.output->storage.read((c.output->offset + c.first) * item, out.data(), c.n * item);
        if (with_crc) c.crc = libdeflate_crc32(0, out.data(), c.n * item);
        if (auto bad = first_difference(*c.source, c.first, in.data(), out.data(), c.n)) {
          std::lock_guard guard(lock);
          report.differences.push_back(
              {c.source->name, fmt::format("differs from element {} on", c.first + *bad)});
        }
      }
    } catch (...) {
      std::lock_guard guard(lock);
      if (!error) error = std::current_exception();
      next = chunks.size();
    }
  };
  {
    // More than there are processors: some wait for the disk while the others compare.
    size_t threads = options.write.threads ? options.write.threads : 4;
    std::vector<std::jthread> helpers;
    for (size_t i = 1; i < std::min(threads, chunks.size()); ++i) helpers.emplace_back(work);
    work();
  }
  if (error) std::rethrow_exception(error);
  if (with_crc) {
    std::map<uint64_t, DataCrc> known;
    for (const Chunk& c : chunks) {
      uint64_t bytes = c.n * size_of(c.output->dtype);
      DataCrc& data = known[c.output->storage.offset];
      data.crc = combine_crc(data.crc, c.crc, bytes);
      data.bytes += bytes;
    }
    check_crcs(output, options.source.limits, known, report.differences);
  }
  std::stable_sort(report.differences.begin(), report.differences.end(),
                   [](auto& a, auto& b) { return a.name < b.name; });
  return report;
}

}  // namespace trm
