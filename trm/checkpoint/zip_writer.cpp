#include <libdeflate.h>

#include "trm/checkpoint/output.h"
#include "trm/io/text.h"

namespace trm {

namespace {

constexpr uint64_t kFull32 = 0xffffffff, kFull16 = 0xffff;

void put(std::string& out, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i));
}

struct Placed {
  uint64_t header = 0, data = 0, size = 0;
  uint32_t crc = 0;
};

/// Fields that the local header and the directory share, from the version on.
void put_common(std::string& out, const ZipRecord& record, const Placed& p, bool wide) {
  bool ascii = true;
  for (char c : record.name) ascii = ascii && static_cast<uint8_t>(c) < 0x80;
  put(out, wide ? 45 : 20, 2);
  put(out, ascii ? 0 : 0x800, 2);  // 0x800: the name is UTF-8
  put(out, 0, 2);                  // stored
  put(out, 0, 2);  // time and date: 1980-01-01, so that equal input gives equal files
  put(out, 0x21, 2);
  put(out, p.crc, 4);
  put(out, wide ? kFull32 : p.size, 4);
  put(out, wide ? kFull32 : p.size, 4);
  put(out, record.name.size(), 2);
}

std::string local_header(const ZipRecord& record, const Placed& p, uint64_t alignment,
                         uint64_t zip64_from) {
  bool wide = p.size >= zip64_from;
  std::string extra;
  if (wide) {
    put(extra, 1, 2);
    put(extra, 16, 2);
    put(extra, p.size, 8);
    put(extra, p.size, 8);
  }
  if (alignment > 1) {  // torch's padding field, "FB", filled with Z
    uint64_t end = p.header + 30 + record.name.size() + extra.size() + 4;
    uint64_t padding = (alignment - end % alignment) % alignment;
    extra += "FB";
    put(extra, padding, 2);
    extra.append(padding, 'Z');
  }
  std::string out;
  put(out, 0x04034b50, 4);
  put_common(out, record, p, wide);
  put(out, extra.size(), 2);
  return out + record.name + extra;
}

std::string directory_entry(const ZipRecord& record, const Placed& p, uint64_t zip64_from) {
  bool wide = p.size >= zip64_from, far = p.header >= zip64_from;
  std::string extra;
  if (wide || far) {
    put(extra, 1, 2);
    put(extra, (wide ? 16 : 0) + (far ? 8 : 0), 2);
    if (wide) put(extra, p.size, 8);
    if (wide) put(extra, p.size, 8);
    if (far) put(extra, p.header, 8);
  }
  std::string out;
  put(out, 0x02014b50, 4);
  put(out, 45, 2);
  put_common(out, record, p, wide);
  put(out, extra.size(), 2);
  out.append(2 + 2 + 2 + 4, '\0');  // comment, disk, attributes
  put(out, far ? kFull32 : p.header, 4);
  return out + record.name + extra;
}

std::string end_records(uint64_t entries, uint64_t offset, uint64_t size, bool wide) {
  std::string out;
  if (wide) {
    put(out, 0x06064b50, 4);
    put(out, 44, 8);
    put(out, 45, 2);
    put(out, 45, 2);
    put(out, 0, 8);
    put(out, entries, 8);
    put(out, entries, 8);
    put(out, size, 8);
    put(out, offset, 8);
    put(out, 0x07064b50, 4);
    put(out, 0, 4);
    put(out, offset + size, 8);
    put(out, 1, 4);
  }
  put(out, 0x06054b50, 4);
  put(out, 0, 4);
  put(out, wide ? kFull16 : entries, 2);
  put(out, wide ? kFull16 : entries, 2);
  put(out, wide ? kFull32 : size, 4);
  put(out, wide ? kFull32 : offset, 4);
  put(out, 0, 2);
  return out;
}

}  // namespace

void write_zip(const std::filesystem::path& path, const std::vector<ZipRecord>& records,
               uint64_t alignment, const WriteOptions& options) {
  std::vector<Placed> places;
  std::vector<PlacedTensor> blocks;
  uint64_t at = 0;
  for (const ZipRecord& record : records) {
    if (record.name.size() > kFull16)
      fail("[zip] a name of {} bytes is too long", record.name.size());
    Placed p;
    p.header = at;
    p.size = record.head.size() + (record.tensor ? record.tensor->bytes() : 0);
    p.data = at + local_header(record, p, alignment, options.zip64_from).size();
    if (record.tensor) blocks.push_back({p.data + record.head.size(), record.tensor});
    at = p.data + p.size;
    places.push_back(p);
  }
  AtomicFile file(path);
  write_blocks(file, blocks, true, options);
  std::string directory;
  size_t block = 0;
  for (size_t i = 0; i < records.size(); ++i) {
    Placed& p = places[i];
    p.crc = libdeflate_crc32(0, records[i].head.data(), records[i].head.size());
    if (records[i].tensor)
      p.crc = combine_crc(p.crc, blocks[block++].crc, records[i].tensor->bytes());
    std::string header =
        local_header(records[i], p, alignment, options.zip64_from) + records[i].head;
    file.write_at(p.header, header.data(), header.size());
    directory += directory_entry(records[i], p, options.zip64_from);
  }
  bool wide = at >= options.zip64_from || records.size() >= kFull16 || directory.size() >= kFull32;
  std::string end = directory + end_records(records.size(), at, directory.size(), wide);
  file.write_at(at, end.data(), end.size());
  file.commit();
}

}  // namespace trm
