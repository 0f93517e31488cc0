#include "trm/train/event_file.h"

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <stdexcept>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

namespace trm {

namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// Protobuf's wire format: a key of field number and type, then the value.
enum WireType { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

void put_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}
void put_key(std::string& out, int field, WireType type) {
  put_varint(out, static_cast<uint64_t>(field) << 3 | type);
}
template <class T>
void put_fixed(std::string& out, T value) {  // little-endian, as all machines of MLX are
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}
void put_bytes(std::string& out, int field, const std::string& bytes) {
  put_key(out, field, kBytes);
  put_varint(out, bytes.size());
  out += bytes;
}
std::string event_at(double wall_time) {
  std::string event;
  put_key(event, 1, kFixed64);
  put_fixed(event, wall_time);
  return event;
}

uint32_t masked(uint32_t crc) { return ((crc >> 15) | (crc << 17)) + 0xa282ead8u; }

}  // namespace

uint32_t crc32c(const std::string& text) {
  static const auto table = [] {
    std::array<uint32_t, 256> t{};
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t crc = i;
      for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
      t[i] = crc;
    }
    return t;
  }();
  uint32_t crc = ~0u;
  for (unsigned char c : text) crc = crc >> 8 ^ table[(crc ^ c) & 0xff];
  return ~crc;
}

EventFile::EventFile(const std::filesystem::path& folder)
    : file_(folder / fmt::format("events.out.tfevents.{:.0f}.trm.{}", now(), getpid())) {
  fd_ = open(file_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (fd_ < 0) {
    throw std::runtime_error(
        fmt::format("[tensorboard] cannot create {}: {}", file_.string(), strerror(errno)));
  }
  auto event = event_at(now());
  put_bytes(event, 3, "brain.Event:2");
  write_record(event);
}

EventFile::~EventFile() {
  if (fd_ >= 0) close(fd_);
}

void EventFile::append(const MetricsLine& line) {
  std::string summary;
  for (auto& [name, number] : line.values) {
    std::string value;
    put_bytes(value, 1, name);
    put_key(value, 2, kFixed32);
    put_fixed(value, static_cast<float>(number));
    put_bytes(summary, 1, value);
  }
  auto event = event_at(now());
  put_key(event, 2, kVarint);
  put_varint(event, static_cast<uint64_t>(line.step));
  put_bytes(event, 5, summary);
  write_record(event);
}

void EventFile::write_record(const std::string& event) {
  std::string length;
  put_fixed<uint64_t>(length, event.size());
  std::string record = length;
  put_fixed(record, masked(crc32c(length)));
  record += event;
  put_fixed(record, masked(crc32c(event)));
  if (write(fd_, record.data(), record.size()) != static_cast<ssize_t>(record.size())) {
    throw std::runtime_error(
        fmt::format("[tensorboard] cannot write {}: {}", file_.string(), strerror(errno)));
  }
}

}  // namespace trm
