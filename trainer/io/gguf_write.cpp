#include "trainer/io/gguf_write.h"

#include <algorithm>
#include <array>

#include "trainer/io/atomic_file.h"
#include "trainer/io/ggml_types.h"
#include "trainer/io/mapped_file.h"

namespace sterna::io {

namespace {

constexpr uint64_t kAlignment = 32;  // what a file without general.alignment has
constexpr size_t kLongestName = 63;
constexpr size_t kMostDims = 4;
constexpr size_t kPieceBytes = size_t{4} << 20;

// Value types of the format.
constexpr uint32_t kU32 = 4;
constexpr uint32_t kI32 = 5;
constexpr uint32_t kF32 = 6;
constexpr uint32_t kBool = 7;
constexpr uint32_t kText = 8;
constexpr uint32_t kArray = 9;

template <class T>
std::string raw_bytes(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof(value)};
}

std::string with_length(const std::string& text) {
  return raw_bytes(uint64_t{text.size()}) + text;
}

template <class T>
std::string array_of(uint32_t type, const std::vector<T>& values) {
  std::string out = raw_bytes(type) + raw_bytes(uint64_t{values.size()});
  for (const T& value : values)
    out += raw_bytes(value);
  return out;
}

uint64_t padding(uint64_t size) {
  return (kAlignment - size % kAlignment) % kAlignment;
}

}  // namespace

GgufStream::GgufStream(const std::filesystem::path& path)
    : path_(path),
      beside_(path.string() + ".waiting"),
      waiting_(std::make_unique<AtomicFile>(beside_)) {}

GgufStream::~GgufStream() {
  std::error_code ignored;
  std::filesystem::remove(beside_, ignored);
}

void GgufStream::pair(const std::string& key, uint32_t type, const std::string& value) {
  if (key.empty() || !keys_.insert(key).second)
    throw FileError(path_.string() + ": the metadata key '" + key + "' is empty or comes twice");
  pairs_ += with_length(key) + raw_bytes(type) + value;
}

void GgufStream::u32(const std::string& key, uint32_t value) {
  pair(key, kU32, raw_bytes(value));
}

void GgufStream::f32(const std::string& key, float value) {
  pair(key, kF32, raw_bytes(value));
}

void GgufStream::boolean(const std::string& key, bool value) {
  pair(key, kBool, raw_bytes(static_cast<uint8_t>(value)));
}

void GgufStream::text(const std::string& key, const std::string& value) {
  pair(key, kText, with_length(value));
}

void GgufStream::texts(const std::string& key, const std::vector<std::string>& values) {
  std::string out = raw_bytes(kText) + raw_bytes(uint64_t{values.size()});
  for (const std::string& value : values)
    out += with_length(value);
  pair(key, kArray, out);
}

void GgufStream::i32s(const std::string& key, const std::vector<int32_t>& values) {
  pair(key, kArray, array_of(kI32, values));
}

void GgufStream::f32s(const std::string& key, const std::vector<float>& values) {
  pair(key, kArray, array_of(kF32, values));
}

void GgufStream::add(const std::string& name,
                     Dtype dtype,
                     const std::vector<int64_t>& shape,
                     std::span<const std::byte> bytes) {
  const std::string who = path_.string() + ": tensor '" + name + "'";
  if (name.size() > kLongestName || shape.size() > kMostDims || !names_.insert(name).second)
    throw FileError(who + " has a name or shape that GGUF cannot hold, or comes twice");
  const auto row = static_cast<uint64_t>(shape.empty() ? 1 : shape.back());
  if (row % block_elements(dtype) != 0 || bytes_of(dtype, elements_of(shape)) != bytes.size())
    throw FileError(who + " has " + std::to_string(bytes.size()) +
                    " bytes, which is not what its shape needs");
  infos_ += with_length(name) + raw_bytes(static_cast<uint32_t>(shape.size()));
  for (auto size = shape.rbegin(); size != shape.rend(); ++size)
    infos_ += raw_bytes(*size);
  infos_ += raw_bytes(ggml_type_id(dtype)) + raw_bytes(bytes_);
  constexpr std::array<std::byte, kAlignment> kZeros{};
  waiting_->write(bytes);
  waiting_->write(std::span(kZeros).first(padding(bytes.size())));
  bytes_ += bytes.size() + padding(bytes.size());
}

void GgufStream::finish() {
  waiting_->commit();
  std::string head = "GGUF" + raw_bytes(uint32_t{3}) + raw_bytes(uint64_t{names_.size()}) +
                     raw_bytes(uint64_t{keys_.size()}) + pairs_ + infos_;
  head.resize(head.size() + padding(head.size()));
  AtomicFile file(path_);
  file.write(std::as_bytes(std::span(head)));
  if (bytes_ > 0) {
    const MappedFile mapped(beside_);
    for (size_t at = 0; at < bytes_; at += kPieceBytes) {
      const auto piece = mapped.bytes().subspan(at, std::min<size_t>(kPieceBytes, bytes_ - at));
      file.write(piece);
      release_pages(piece);
    }
  }
  file.commit();
  std::filesystem::remove(beside_);
}

}  // namespace sterna::io
