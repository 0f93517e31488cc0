#include "trm/train/event_file.h"

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <stdexcept>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "trm/train/event.pb.h"

namespace trm {

namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

template <class T>
void put_fixed(std::string& out, T value) {  // little-endian, as all machines of MLX are
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
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
  tensorboard::Event event;
  event.set_wall_time(now());
  event.set_file_version("brain.Event:2");
  write_record(event.SerializeAsString());
}

EventFile::~EventFile() {
  if (fd_ >= 0) close(fd_);
}

void EventFile::append(const MetricsLine& line) {
  tensorboard::Event event;
  event.set_wall_time(now());
  event.set_step(line.step);
  for (auto& [name, number] : line.values) {
    auto* value = event.mutable_summary()->add_value();
    value->set_tag(name);
    value->set_simple_value(static_cast<float>(number));
  }
  write_record(event.SerializeAsString());
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
