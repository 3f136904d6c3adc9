#include "trainer/data/token_cache.h"

#include <bit>
#include <cstring>
#include <stdexcept>

#include "trainer/io/tensor_file.h"

namespace sterna::data {
namespace {

static_assert(std::endian::native == std::endian::little, "the file is little-endian");

constexpr char kMagic[8] = {'S', 'T', 'R', 'N', 'T', 'O', 'K', '\n'};
constexpr uint32_t kVersion = 1;
constexpr size_t kHexDigits = 64;
constexpr size_t kFlushBytes = size_t{1} << 20;

struct Footer {
  uint32_t version = kVersion;
  uint32_t width = 0;
  uint64_t size = 0;
  uint64_t documents = 0;
  char key[kHexDigits] = {};
  char hash[kHexDigits] = {};  ///< SHA-256 of the ids and of the fields above
  char magic[8] = {};
};
static_assert(sizeof(Footer) == 160);
constexpr size_t kHashedFooterBytes = offsetof(Footer, hash);

std::span<const std::byte> hashed_part(const Footer& footer) {
  return std::as_bytes(std::span(&footer, 1)).first(kHashedFooterBytes);
}

}  // namespace

TokenCache::TokenCache(const std::filesystem::path& path, const std::string& key) : file_(path) {
  const std::span<const std::byte> bytes = file_.bytes();
  if (bytes.size() < sizeof(Footer)) {
    file_.fail(bytes.size(), "token cache shorter than its footer");
  }
  const size_t payload = bytes.size() - sizeof(Footer);
  Footer footer;
  std::memcpy(&footer, bytes.data() + payload, sizeof footer);
  if (std::memcmp(footer.magic, kMagic, sizeof kMagic) != 0) {
    file_.fail(payload, "no token cache: the magic number is missing");
  }
  if (footer.version != kVersion) {
    file_.fail(payload, "token cache of another version");
  }
  if (footer.width != 2 && footer.width != 4) {
    file_.fail(payload, "token cache: an id is neither 2 nor 4 bytes wide");
  }
  if (payload % footer.width != 0 || payload / footer.width != footer.size) {
    file_.fail(payload, "token cache: the number of ids does not fit the file's size");
  }
  if (std::string_view(footer.key, kHexDigits) != key) {
    file_.fail(payload, "token cache: made for another text, tokenizer or set of options");
  }
  io::Sha256 hash;
  hash.update(bytes.first(payload));
  hash.update(hashed_part(footer));
  if (hash.hex() != std::string_view(footer.hash, kHexDigits)) {
    file_.fail(0, "token cache: the SHA-256 does not match");
  }
  width_ = static_cast<int>(footer.width);
  size_ = static_cast<int64_t>(footer.size);
  documents_ = static_cast<int64_t>(footer.documents);
}

int32_t TokenCache::at(int64_t index) const {
  if (index < 0 || index >= size_) {
    throw std::out_of_range("TokenCache: token " + std::to_string(index) + " of " +
                            std::to_string(size_));
  }
  uint32_t id = 0;  // little-endian: two bytes fill the lower half
  std::memcpy(&id, file_.bytes().data() + index * width_, static_cast<size_t>(width_));
  return static_cast<int32_t>(id);
}

TokenCacheWriter::TokenCacheWriter(const std::filesystem::path& path,
                                   const std::string& key,
                                   int64_t vocab_size)
    : file_(path), key_(key), width_(vocab_size <= 65536 ? 2 : 4) {
  if (key.size() != kHexDigits) {
    throw std::invalid_argument("TokenCacheWriter: the key must have 64 hex digits");
  }
}

void TokenCacheWriter::add_document(std::span<const int32_t> ids) {
  for (const int32_t id : ids) {
    if (id < 0 || (width_ == 2 && id > 65535)) {
      throw std::out_of_range("TokenCacheWriter: id " + std::to_string(id));
    }
    char bytes[4];
    std::memcpy(bytes, &id, sizeof bytes);
    buffer_.append(bytes, static_cast<size_t>(width_));
  }
  size_ += ids.size();
  ++documents_;
  if (buffer_.size() >= kFlushBytes) {
    flush();
  }
}

void TokenCacheWriter::flush() {
  const auto bytes = std::as_bytes(std::span(buffer_));
  hash_.update(bytes);
  file_.write(bytes);
  buffer_.clear();
}

void TokenCacheWriter::commit() {
  flush();
  Footer footer;
  footer.width = static_cast<uint32_t>(width_);
  footer.size = size_;
  footer.documents = documents_;
  std::memcpy(footer.key, key_.data(), kHexDigits);
  hash_.update(hashed_part(footer));
  std::memcpy(footer.hash, hash_.hex().data(), kHexDigits);
  std::memcpy(footer.magic, kMagic, sizeof kMagic);
  file_.write(std::as_bytes(std::span(&footer, 1)));
  file_.commit();
}

}  // namespace sterna::data
