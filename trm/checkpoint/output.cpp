#include "trm/checkpoint/output.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_set>

#include <libdeflate.h>

#include "trm/checkpoint/npy.h"
#include "trm/checkpoint/safetensors.h"
#include "trm/io/text.h"

namespace trm {

uint64_t OutTensor::count() const {
  uint64_t n = 1;
  for (uint64_t d : shape) n *= d;
  return n;
}

namespace {

/// a * b modulo the CRC-32 polynomial, bit-reflected.
uint32_t multiply_mod(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (uint32_t bit = 0x80000000; bit != 0; bit >>= 1) {
    if (a & bit) product ^= b;
    b = b & 1 ? (b >> 1) ^ 0xedb88320 : b >> 1;
  }
  return product;
}

}  // namespace

uint32_t combine_crc(uint32_t first, uint32_t second, uint64_t second_length) {
  // Appending n zero bytes multiplies by x^(8n).
  uint32_t factor = 0x80000000, power = 0x00800000;  // x^0, x^8
  for (uint64_t n = second_length; n != 0; n >>= 1) {
    if (n & 1) factor = multiply_mod(power, factor);
    power = multiply_mod(power, power);
  }
  return multiply_mod(factor, first) ^ second;
}

namespace {

/// Writes bytes [from, from + bytes) of the tensor's data to `out`; they may begin and end inside
/// an element.
void fill_bytes(const OutTensor& tensor, uint64_t from, uint64_t bytes, std::byte* out) {
  const size_t item = size_of(tensor.dtype);
  std::byte one[16];
  if (size_t skip = from % item) {
    size_t n = std::min<uint64_t>(item - skip, bytes);
    tensor.fill(from / item, 1, one);
    memcpy(out, one + skip, n);
    from += n;
    bytes -= n;
    out += n;
  }
  uint64_t elements = bytes / item;
  if (elements > 0) tensor.fill(from / item, elements, out);
  if (size_t rest = bytes % item) {
    tensor.fill(from / item + elements, 1, one);
    memcpy(out + elements * item, one, rest);
  }
}

/// Part of a block inside a span of the file.
struct Piece {
  size_t block;
  uint64_t from, bytes;
  uint32_t crc = 0;
};
struct Span {
  uint64_t at;          // in the file
  size_t first, count;  // pieces
};

}  // namespace

void write_blocks(AtomicFile& file, std::vector<PlacedTensor>& blocks, bool with_crc,
                  const WriteOptions& options) {
  constexpr uint64_t kSpan = 2 << 20;
  std::vector<Piece> pieces;
  std::vector<Span> spans;
  uint64_t end = 0, bytes = 0;
  for (size_t b = 0; b < blocks.size(); ++b) {
    uint64_t size = blocks[b].tensor->bytes();
    for (uint64_t from = 0; from < size; from += pieces.back().bytes) {
      uint64_t place = blocks[b].offset + from, at = place / kSpan * kSpan;
      if (spans.empty() || spans.back().at != at) spans.push_back({at, pieces.size(), 0});
      ++spans.back().count;
      pieces.push_back({b, from, std::min(size - from, at + kSpan - place)});
    }
    end = std::max(end, blocks[b].offset + size);
    bytes += size;
  }
  // Headers are written between the blocks afterwards, each through the cache: with many of them
  // that would take longer than is won.
  bool direct =
      bytes >= options.direct_from && bytes >> 20 >= blocks.size() && file.start_direct(end);
  std::atomic<size_t> next{0};
  std::exception_ptr error;
  std::mutex error_lock;
  auto work = [&] {
    try {
      std::unique_ptr<std::byte, void (*)(void*)> memory(
          static_cast<std::byte*>(std::aligned_alloc(
              AtomicFile::kDirect, std::min(kSpan, end / AtomicFile::kDirect * AtomicFile::kDirect +
                                                       AtomicFile::kDirect))),
          std::free);
      if (!memory) throw std::bad_alloc();
      std::byte* buffer = memory.get();
      for (size_t i = next++; i < spans.size(); i = next++) {
        const Span& span = spans[i];
        const Piece& first = pieces[span.first];
        uint64_t begin = direct ? 0 : blocks[first.block].offset + first.from - span.at,
                 done = begin;
        for (size_t k = span.first; k < span.first + span.count; ++k) {
          Piece& p = pieces[k];
          uint64_t place = blocks[p.block].offset + p.from - span.at;
          memset(buffer + done, 0, place - done);
          fill_bytes(*blocks[p.block].tensor, p.from, p.bytes, buffer + place);
          if (with_crc) p.crc = libdeflate_crc32(0, buffer + place, p.bytes);
          done = place + p.bytes;
        }
        if (direct)
          for (; done % AtomicFile::kDirect != 0; ++done) buffer[done] = std::byte{0};
        file.write_at(span.at + begin, buffer + begin, done - begin);
        if (!direct) file.start_flush(span.at + begin, done - begin);
      }
    } catch (...) {
      std::lock_guard lock(error_lock);
      if (!error) error = std::current_exception();
      next = spans.size();
    }
  };
  // More threads only wait for the disk, and each has its buffers.
  size_t threads =
      options.threads ? options.threads : std::clamp(std::thread::hardware_concurrency(), 1u, 4u);
  std::vector<std::jthread> helpers;
  for (size_t i = 1; i < std::min(threads, spans.size()); ++i) helpers.emplace_back(work);
  work();
  helpers.clear();
  if (error) std::rethrow_exception(error);
  if (direct) file.end_direct(end);
  for (const Piece& p : pieces) {
    PlacedTensor& block = blocks[p.block];
    block.crc = combine_crc(block.crc, p.crc, p.bytes);
  }
}

namespace {

void check_names(const std::vector<OutTensor>& tensors) {
  std::unordered_set<std::string_view> names;
  for (const OutTensor& t : tensors)
    if (!names.insert(t.name).second)
      fail("[write] two tensors would be named {}; --rename or --exclude one", printable(t.name));
}

/// Names are looked up as files by some readers, so what a file system would take for a place is
/// refused.
void check_npz_name(const std::string& name) {
  bool place = name.starts_with('/') || name.find('\0') != name.npos || name.empty() ||
               name == ".." || name.starts_with("../") || name.ends_with("/..") ||
               name.find("/../") != name.npos;
  if (place)
    fail("[npz] the name '{}' cannot stand in an .npz; --rename it or write .safetensors",
         printable(name));
  if (!is_utf8(name)) fail("[npz] the name {} is not valid UTF-8; --rename it", printable(name));
}

}  // namespace

void write_npz(const std::filesystem::path& path, const std::vector<OutTensor>& tensors,
               const WriteOptions& options) {
  check_names(tensors);
  std::unordered_set<std::string_view> names;
  for (const OutTensor& t : tensors) names.insert(t.name);
  std::vector<ZipRecord> records;
  for (const OutTensor& t : tensors) {
    check_npz_name(t.name);
    // NumPy finds the array "a" under "a.npy" too.
    if (t.name.ends_with(".npy") &&
        names.contains(std::string_view(t.name).substr(0, t.name.size() - 4)))
      fail("[npz] the names {} and that without .npy collide; --rename one", printable(t.name));
    records.push_back({t.name + ".npy", npy_header(t.dtype, t.shape), &t});
  }
  write_zip(path, records, 1, options);
}

void write_safetensors(const std::filesystem::path& path, const std::vector<OutTensor>& tensors,
                       const std::map<std::string, std::string>& metadata,
                       const WriteOptions& options) {
  check_names(tensors);
  // Large elements first: then every tensor is aligned to its own elements without holes.
  std::vector<const OutTensor*> order;
  for (const OutTensor& t : tensors) order.push_back(&t);
  std::stable_sort(order.begin(), order.end(),
                   [](auto* a, auto* b) { return info(a->dtype).size > info(b->dtype).size; });
  std::vector<SafetensorsEntry> entries;
  uint64_t at = 0;
  for (const OutTensor* t : order) {
    entries.push_back({t->name, t->dtype, t->shape, at, at + t->bytes()});
    at += t->bytes();
  }
  std::string header = safetensors_header(entries, metadata);
  std::vector<PlacedTensor> blocks;
  for (size_t i = 0; i < order.size(); ++i)
    blocks.push_back({header.size() + entries[i].begin, order[i]});
  AtomicFile file(path);
  write_blocks(file, blocks, false, options);
  file.write_at(0, header.data(), header.size());
  file.commit();
}

}  // namespace trm
