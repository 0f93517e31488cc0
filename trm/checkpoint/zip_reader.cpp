#include "trm/checkpoint/zip_reader.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "trm/io/text.h"

namespace trm {

namespace {

template <class T>
T load(const std::byte* p) {
  T value;
  memcpy(&value, p, sizeof value);
  return value;
}

struct End {
  uint64_t entries = 0, size = 0, offset = 0;
};

constexpr uint64_t kEndSize = 22, kLocatorSize = 20, kEnd64Size = 56, kCentralSize = 46,
                   kLocalSize = 30;

/// Finds the end record: the last signature in the file's last 64 KiB, as torch and zipfile do.
End find_end(const Source& source) {
  uint64_t size = source->size();
  constexpr const char* kCut =
      "[zip] no end record: the file is cut off (an incomplete download?); get it again";
  if (size < kEndSize) fail("{}", kCut);
  uint64_t window = std::min<uint64_t>(size, kEndSize + 65535);
  std::vector<std::byte> tail(window);
  source->read(size - window, tail.data(), window);
  uint64_t at = window - kEndSize;
  while (load<uint32_t>(&tail[at]) != 0x06054b50) {
    if (at == 0) fail("{}", kCut);
    --at;
  }
  const std::byte* p = &tail[at];
  uint64_t place = size - window + at;
  End end{load<uint16_t>(p + 10), load<uint32_t>(p + 12), load<uint32_t>(p + 16)};
  if (load<uint16_t>(p + 4) != 0 || load<uint16_t>(p + 6) != 0 ||
      load<uint16_t>(p + 8) != end.entries)
    fail("[zip] archives in several parts are not read");
  std::byte locator[kLocatorSize];
  if (place >= kLocatorSize) {
    source->read(place - kLocatorSize, locator, kLocatorSize);
    if (load<uint32_t>(locator) == 0x07064b50) {
      auto place64 = load<uint64_t>(locator + 8);
      std::byte end64[kEnd64Size];
      if (place64 > place || place - place64 < kEnd64Size + kLocatorSize)
        fail("[zip] damaged: the zip64 record is out of place");
      source->read(place64, end64, kEnd64Size);
      if (load<uint32_t>(end64) != 0x06064b50)
        fail("[zip] damaged: no zip64 record where it should be");
      End wide{load<uint64_t>(end64 + 32), load<uint64_t>(end64 + 40), load<uint64_t>(end64 + 48)};
      auto agree = [](uint64_t small, uint64_t limit, uint64_t big) {
        return small == limit || small == big;
      };
      if (!agree(end.entries, 0xffff, wide.entries) || !agree(end.size, 0xffffffff, wide.size) ||
          !agree(end.offset, 0xffffffff, wide.offset))
        fail("[zip] the two end records disagree: the file is damaged or made to deceive");
      end = wide;
      place = place64;
    }
  }
  if (end.offset > place || end.size != place - end.offset)
    fail(
        "[zip] the directory is not where the end record says: the file is cut off, joined or "
        "damaged");
  return end;
}

std::string fold(std::string name) {
  for (char& c : name)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return name;
}

/// Takes the 64-bit values of the zip64 extra field where the 32-bit ones are full.
void read_zip64(const std::byte* extra, size_t size, ZipEntry& entry, uint64_t& header) {
  bool wide[3] = {entry.size == 0xffffffff, entry.stored_size == 0xffffffff, header == 0xffffffff};
  uint64_t* values[3] = {&entry.size, &entry.stored_size, &header};
  while (size >= 4) {
    size_t length = load<uint16_t>(extra + 2);
    if (length > size - 4) break;
    if (load<uint16_t>(extra) == 1) {
      size_t at = 0;
      for (int i = 0; i < 3; ++i) {
        if (!wide[i]) continue;
        if (at + 8 > length) fail("[zip] damaged: a zip64 field is too short");
        *values[i] = load<uint64_t>(extra + 4 + at);
        at += 8;
      }
      return;
    }
    extra += 4 + length;
    size -= 4 + length;
  }
}

}  // namespace

ZipReader::ZipReader(Source source, const Limits& limits, bool fold_case)
    : source_(std::move(source)), limits_(limits) {
  read_directory(fold_case);
  check_local_headers();
}

void ZipReader::read_directory(bool fold_case) {
  End end = find_end(source_);
  if (end.entries > limits_.max_zip_entries)
    fail("[zip] {} records are more than {} (--max-zip-entries)", end.entries,
         limits_.max_zip_entries);
  if (end.size > limits_.max_header_bytes)
    fail("[zip] a directory of {} bytes is more than {} (--max-header-bytes)", end.size,
         limits_.max_header_bytes);
  directory_offset_ = end.offset;
  std::vector<std::byte> directory(end.size);
  source_->read(end.offset, directory.data(), directory.size());
  uint64_t at = 0;
  for (uint64_t i = 0; i < end.entries; ++i) {
    if (end.size - at < kCentralSize || load<uint32_t>(&directory[at]) != 0x02014b50)
      fail("[zip] damaged: entry {} of the directory is cut off", i);
    const std::byte* p = &directory[at];
    size_t name_size = load<uint16_t>(p + 28), extra_size = load<uint16_t>(p + 30);
    uint64_t record = kCentralSize + name_size + extra_size + load<uint16_t>(p + 32);
    if (record > end.size - at) fail("[zip] damaged: entry {} of the directory is cut off", i);
    ZipEntry entry;
    entry.name.assign(reinterpret_cast<const char*>(p + kCentralSize), name_size);
    entry.stored_size = load<uint32_t>(p + 20);
    entry.size = load<uint32_t>(p + 24);
    entry.crc = load<uint32_t>(p + 16);
    uint64_t header = load<uint32_t>(p + 42);
    read_zip64(p + kCentralSize + name_size, extra_size, entry, header);
    unsigned flags = load<uint16_t>(p + 8), method = load<uint16_t>(p + 10);
    if (flags & 0x2041)
      fail("[zip] record {} is encrypted: unpack the archive with its password first",
           printable(entry.name));
    if (method != 0 && method != 8)
      fail("[zip] record {} is packed by method {}; stored (0) and deflated (8) are read",
           printable(entry.name), method);
    if (load<uint16_t>(p + 34) != 0) fail("[zip] archives in several parts are not read");
    entry.deflated = method == 8;
    if (!entry.deflated && entry.stored_size != entry.size)
      fail("[zip] record {} is stored with two sizes", printable(entry.name));
    if (!by_name_.emplace(fold_case ? fold(entry.name) : entry.name, entries_.size()).second)
      fail("[zip] two records are named {}: readers would disagree which one counts",
           printable(entry.name));
    entries_.push_back(std::move(entry));
    header_offsets_.push_back(header);
    at += record;
  }
  if (at != end.size) fail("[zip] the directory holds more than its {} entries", end.entries);
  if (fold_case) {  // find() takes exact names
    by_name_.clear();
    for (size_t i = 0; i < entries_.size(); ++i) by_name_.emplace(entries_[i].name, i);
  }
}

void ZipReader::check_local_headers() {
  std::vector<size_t> order(entries_.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return header_offsets_[a] < header_offsets_[b]; });
  uint64_t free_from = 0;
  std::vector<std::byte> header;
  for (size_t i : order) {
    ZipEntry& entry = entries_[i];
    uint64_t at = header_offsets_[i];
    std::string name = printable(entry.name);
    if (at < free_from)
      fail("[zip] record {} overlaps another one: the file is damaged or made to deceive", name);
    uint64_t fixed = kLocalSize + entry.name.size();
    if (at > directory_offset_ || directory_offset_ - at < fixed)
      fail("[zip] record {} lies outside the archive", name);
    header.resize(fixed);
    source_->read(at, header.data(), fixed);
    const std::byte* p = header.data();
    if (load<uint32_t>(p) != 0x04034b50) fail("[zip] damaged: no record where {} should be", name);
    if (load<uint16_t>(p + 26) != entry.name.size() ||
        memcmp(p + kLocalSize, entry.name.data(), entry.name.size()) != 0)
      fail(
          "[zip] record {} has another name in its own header: the file is damaged or made to "
          "deceive",
          name);
    if ((load<uint16_t>(p + 8) == 8) != entry.deflated || load<uint16_t>(p + 6) & 1)
      fail("[zip] record {} contradicts the directory: the file is damaged or made to deceive",
           name);
    uint32_t local_size = load<uint32_t>(p + 18);
    if (local_size != 0 && local_size != 0xffffffff && local_size != entry.stored_size)
      fail("[zip] record {} has two sizes: the file is damaged or made to deceive", name);
    entry.offset = at + fixed + load<uint16_t>(p + 28);
    if (entry.offset > directory_offset_ || entry.stored_size > directory_offset_ - entry.offset)
      fail("[zip] record {} reaches into the directory: the file is damaged", name);
    free_from = entry.offset + entry.stored_size;
  }
}

const ZipEntry* ZipReader::find(const std::string& name) const {
  auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &entries_[found->second];
}

Region ZipReader::open(const ZipEntry& entry) const {
  Region raw{source_, entry.offset, entry.stored_size};
  if (!entry.deflated) return raw;
  if (entry.size > limits_.max_inflated_bytes)
    fail("[zip] record {} inflates to {} bytes, more than {} (--max-inflated-bytes)",
         printable(entry.name), entry.size, limits_.max_inflated_bytes);
  if (entry.size > (1 << 20) && entry.size / limits_.max_inflate_ratio > entry.stored_size)
    fail("[zip] record {} inflates {} bytes to {}, more than {} times (--max-inflate-ratio)",
         printable(entry.name), entry.stored_size, entry.size, limits_.max_inflate_ratio);
  return whole(inflater_.record(raw, entry.size, entry.name));
}

}  // namespace trm
