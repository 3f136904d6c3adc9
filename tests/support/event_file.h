#pragma once

#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "trainer/io/tensorboard.h"

namespace sterna::tests {

/// One event of a TensorBoard file.
struct Event {
  int64_t step = 0;
  std::string version;
  bool session_start = false;
  std::map<std::string, float> scalars;
};

/// Fields of a protobuf message: number, and value or bytes.
class Message {
 public:
  explicit Message(std::string all) : bytes_(std::move(all)) {}
  bool next() {
    if (at_ == bytes_.size())
      return false;
    const uint64_t key = varint();
    field = static_cast<int>(key >> 3);
    switch (key & 7) {
      case 0:
        number = varint();
        return true;
      case 1:
        bytes = take(8);
        return true;
      case 2:
        bytes = take(varint());
        return true;
      case 5:
        bytes = take(4);
        return true;
    }
    throw std::runtime_error("wire type");
  }
  int field = 0;
  uint64_t number = 0;
  std::string bytes;

 private:
  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
      const auto byte = static_cast<uint8_t>(bytes_.at(at_++));
      value |= static_cast<uint64_t>(byte & 127) << shift;
      if (byte < 128)
        return value;
    }
  }
  std::string take(size_t size) {
    if (size > bytes_.size() - at_)
      throw std::runtime_error("message ends early");
    at_ += size;
    return bytes_.substr(at_ - size, size);
  }
  std::string bytes_;
  size_t at_ = 0;
};

inline void read_scalar(const std::string& value, Event& event) {
  std::string tag;
  float number = 0;
  for (Message m(value); m.next();) {
    if (m.field == 1)
      tag = m.bytes;
    if (m.field == 2)
      std::memcpy(&number, m.bytes.data(), sizeof number);
  }
  event.scalars[tag] = number;
}

inline Event parse_event(const std::string& bytes) {
  Event event;
  for (Message m(bytes); m.next();) {
    if (m.field == 2)
      event.step = static_cast<int64_t>(m.number);
    if (m.field == 3)
      event.version = m.bytes;
    if (m.field == 5)
      for (Message value(m.bytes); value.next();)
        read_scalar(value.bytes, event);
    if (m.field == 7)
      for (Message log(m.bytes); log.next();)
        event.session_start = event.session_start || (log.field == 1 && log.number == 1);
  }
  return event;
}

/// @throws std::runtime_error  where a frame's checksum does not hold
inline std::vector<Event> read_events(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  const std::string all{std::istreambuf_iterator<char>(in), {}};
  std::vector<Event> events;
  for (size_t at = 0; at < all.size();) {
    uint64_t size = 0;
    uint32_t stored = 0;
    std::memcpy(&size, all.data() + at, 8);
    const std::string bytes = all.substr(at + 12, size);
    std::memcpy(&stored, all.data() + at + 12 + size, 4);
    const uint32_t crc = io::crc32c(bytes);
    if (stored != ((crc >> 15) | (crc << 17)) + 0xa282ead8U)
      throw std::runtime_error(path.string() + ": checksum");
    events.push_back(parse_event(bytes));
    at += 16 + size;
  }
  return events;
}

/// Every event file of a folder as TensorBoard reads them: in order of their names, a session's
/// start dropping what was there from its step on. `raw` counts all scalar events.
inline std::vector<Event> shown_events(const std::filesystem::path& folder, size_t& raw) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  std::vector<Event> shown;
  raw = 0;
  for (const auto& file : files) {
    for (const Event& event : read_events(file)) {
      if (event.session_start)
        std::erase_if(shown, [&](const Event& old) { return old.step >= event.step; });
      if (event.scalars.empty())
        continue;
      shown.push_back(event);
      ++raw;
    }
  }
  return shown;
}

}  // namespace sterna::tests
