#include "trm/checkpoint/output.h"

#include <algorithm>
#include <atomic>
#include <exception>
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

void write_blocks(AtomicFile& file, std::vector<Block>& blocks, bool with_crc,
                  const WriteOptions& options) {
  constexpr uint64_t kChunk = 1 << 20;
  struct Chunk {
    size_t block;
    uint64_t first, n;
    uint32_t crc;
  };
  std::vector<Chunk> chunks;
  for (size_t b = 0; b < blocks.size(); ++b) {
    uint64_t count = blocks[b].tensor->count(), step = kChunk / size_of(blocks[b].tensor->dtype);
    for (uint64_t first = 0; first < count; first += step)
      chunks.push_back({b, first, std::min(step, count - first), 0});
  }
  uint64_t largest = 0;
  for (const Chunk& c : chunks)
    largest = std::max(largest, c.n * size_of(blocks[c.block].tensor->dtype));
  std::atomic<size_t> next{0};
  std::exception_ptr error;
  std::mutex error_lock;
  auto work = [&] {
    std::vector<std::byte> buffer(largest);
    try {
      for (size_t i = next++; i < chunks.size(); i = next++) {
        Chunk& c = chunks[i];
        const Block& block = blocks[c.block];
        size_t item = size_of(block.tensor->dtype), bytes = c.n * item;
        block.tensor->fill(c.first, c.n, buffer.data());
        if (with_crc) c.crc = libdeflate_crc32(0, buffer.data(), bytes);
        file.write_at(block.offset + c.first * item, buffer.data(), bytes);
      }
    } catch (...) {
      std::lock_guard lock(error_lock);
      if (!error) error = std::current_exception();
      next = chunks.size();
    }
  };
  size_t threads =
      options.threads ? options.threads : std::max(1u, std::thread::hardware_concurrency());
  std::vector<std::jthread> helpers;
  for (size_t i = 1; i < std::min(threads, chunks.size()); ++i) helpers.emplace_back(work);
  work();
  helpers.clear();
  if (error) std::rethrow_exception(error);
  for (const Chunk& c : chunks) {
    Block& block = blocks[c.block];
    block.crc = combine_crc(block.crc, c.crc, c.n * size_of(block.tensor->dtype));
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
  std::vector<Block> blocks;
  for (size_t i = 0; i < order.size(); ++i)
    blocks.push_back({header.size() + entries[i].begin, order[i]});
  AtomicFile file(path);
  file.write(header);
  write_blocks(file, blocks, false, options);
  file.commit();
}

}  // namespace trm
