// TFRecord frame:  u64 length, u32 masked crc of the length, bytes, u32 masked crc of the bytes
// Event (protobuf): 1 wall_time double, 2 step int64, 3 file_version string, 5 summary Summary,
//                   7 session_log SessionLog
// Summary:          1 repeated Value { 1 tag string, 2 simple_value float }
// SessionLog:       1 status enum { 1 START }
#include "trainer/io/tensorboard.h"

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <unistd.h>

#include "trainer/io/tensor_file.h"

namespace sterna::io {

namespace {

constexpr std::string_view kPrefix = "events.out.tfevents.";

constexpr std::array<uint32_t, 256> make_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit)
      crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78U : 0U);
    table[i] = crc;
  }
  return table;
}

constexpr std::array<uint32_t, 256> kTable = make_table();

uint32_t masked(uint32_t crc) {
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8U;
}

template <class T>
std::string raw(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof(T)};
}

std::string varint(uint64_t value) {
  std::string out;
  for (; value >= 128; value >>= 7)
    out += static_cast<char>((value & 127) | 128);
  return out + static_cast<char>(value);
}

// Wire types of protobuf: 0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes.
std::string key(uint64_t field, uint64_t wire) {
  return varint(field << 3 | wire);
}

std::string bytes_field(uint64_t field, const std::string& bytes) {
  return key(field, 2) + varint(bytes.size()) + bytes;
}

double unix_time() {
  using std::chrono::system_clock;
  return std::chrono::duration<double>(system_clock::now().time_since_epoch()).count();
}

/// Now in seconds, or later: behind every event file that lies in the folder.
int64_t next_second(const std::filesystem::path& folder) {
  auto next = static_cast<int64_t>(unix_time());
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(kPrefix))
      next = std::max<int64_t>(next, std::atoll(name.c_str() + kPrefix.size()) + 1);
  }
  return next;
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  uint32_t crc = ~0U;
  for (const char byte : bytes)
    crc = (crc >> 8) ^ kTable[(crc ^ static_cast<uint8_t>(byte)) & 255];
  return ~crc;
}

TensorboardWriter::TensorboardWriter(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  path_ = folder / (std::string(kPrefix) + std::to_string(next_second(folder)) + "." +
                    std::to_string(::getpid()));
  out_.open(path_, std::ios::binary | std::ios::app);
  if (!out_)
    throw FileError(path_.string() + ": cannot be created (" + std::strerror(errno) +
                    "); check the folder's permissions and the free space of its disk");
  record(key(1, 1) + raw(unix_time()) + bytes_field(3, "brain.Event:2"));
}

void TensorboardWriter::scalars(int64_t step,
                                const std::vector<std::pair<std::string, double>>& values,
                                double wall_time) {
  std::string summary;
  for (const auto& [tag, value] : values)
    summary += bytes_field(1, bytes_field(1, tag) + key(2, 5) + raw(static_cast<float>(value)));
  record(key(1, 1) + raw(wall_time) + key(2, 0) + varint(static_cast<uint64_t>(step)) +
         bytes_field(5, summary));
}

void TensorboardWriter::restart(int64_t step) {
  const std::string start = key(1, 0) + varint(1);
  record(key(1, 1) + raw(unix_time()) + key(2, 0) + varint(static_cast<uint64_t>(step)) +
         bytes_field(7, start));
}

void TensorboardWriter::record(const std::string& event) {
  const std::string length = raw(static_cast<uint64_t>(event.size()));
  out_ << length << raw(masked(crc32c(length))) << event << raw(masked(crc32c(event)));
  if (!out_.flush())
    throw FileError(path_.string() + ": cannot be written (" + std::strerror(errno) +
                    "); check the free space of its disk");
}

}  // namespace sterna::io
