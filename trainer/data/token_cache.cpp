#include "trainer/data/token_cache.h"

#include <bit>
#include <cstring>
#include <stdexcept>

#include "trainer/io/tensor_file.h"

namespace sterna::data {
namespace {

static_assert(std::endian::native == std::endian::little, "the file is little-endian");

constexpr char kMagic[8] = {'S', 'T', 'R', 'N', 'T', 'O', 'K', '\n'};
constexpr uint32_t kVersion = 2;
constexpr size_t kHexDigits = 64;
constexpr size_t kFlushBytes = size_t{1} << 20;

struct Footer {
  uint32_t version = kVersion;
  uint32_t width = 0;
  uint64_t size = 0;
  uint64_t documents = 0;
  uint64_t masked = 0;  ///< 1: a byte of loss for each id
  char key[kHexDigits] = {};
  char hash[kHexDigits] = {};  ///< SHA-256 of the ids and of the fields above
  char magic[8] = {};
};
static_assert(sizeof(Footer) == 168);
constexpr size_t kHashedFooterBytes = offsetof(Footer, hash);

uint64_t rounded_up(uint64_t bytes) {
  return (bytes + 7) / 8 * 8;
}

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
  const bool fits = footer.size <= payload && footer.documents <= payload && footer.masked <= 1;
  ends_at_ = fits ? rounded_up(footer.size * footer.width) : 0;
  loss_at_ = fits ? ends_at_ + footer.documents * 8 : 0;
  if (!fits || loss_at_ + footer.size * footer.masked != payload) {
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
  loss_at_ = footer.masked != 0 ? loss_at_ : 0;
  check_documents();
}

void TokenCache::check_documents() const {
  int64_t before = 0;
  for (int64_t i = 0; i < documents_; ++i) {
    const int64_t end = end_of(i);
    if (end <= before || end > size_)
      file_.fail(ends_at_ + static_cast<size_t>(i) * 8, "token cache: documents out of order");
    before = end;
  }
  if (before != size_)
    file_.fail(ends_at_, "token cache: the documents do not hold all ids");
}

int64_t TokenCache::end_of(int64_t document) const {
  uint64_t end = 0;
  std::memcpy(&end, file_.bytes().data() + ends_at_ + document * 8, sizeof end);
  return static_cast<int64_t>(end);
}

int64_t TokenCache::document_of(int64_t index) const {
  int64_t low = 0;
  int64_t high = documents_ - 1;
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (end_of(middle) > index) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

bool TokenCache::is_target(int64_t index) const {
  return loss_at_ == 0 || file_.bytes()[loss_at_ + static_cast<size_t>(index)] != std::byte{0};
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

void TokenCacheWriter::add_document(std::span<const int32_t> ids, std::span<const uint8_t> loss) {
  if (!loss.empty() && loss.size() != ids.size())
    throw std::invalid_argument("TokenCacheWriter: loss of " + std::to_string(loss.size()) +
                                " for " + std::to_string(ids.size()) + " ids");
  if (ids.empty())
    return;
  for (const int32_t id : ids) {
    if (id < 0 || (width_ == 2 && id > 65535)) {
      throw std::out_of_range("TokenCacheWriter: id " + std::to_string(id));
    }
    char bytes[4];
    std::memcpy(bytes, &id, sizeof bytes);
    buffer_.append(bytes, static_cast<size_t>(width_));
  }
  if (!loss.empty() || !loss_.empty()) {
    loss_.resize(size_, 1);  // of the documents before the first masked one
    loss_.insert(loss_.end(), loss.begin(), loss.end());
    loss_.resize(size_ + ids.size(), 1);
  }
  size_ += ids.size();
  ends_.push_back(size_);
  if (buffer_.size() >= kFlushBytes) {
    flush();
  }
}

void TokenCacheWriter::add(std::span<const std::byte> bytes) {
  hash_.update(bytes);
  file_.write(bytes);
}

void TokenCacheWriter::flush() {
  add(std::as_bytes(std::span(buffer_)));
  buffer_.clear();
}

void TokenCacheWriter::commit() {
  buffer_.resize(buffer_.size() + rounded_up(size_ * static_cast<uint64_t>(width_)) -
                 size_ * static_cast<uint64_t>(width_));
  flush();
  add(std::as_bytes(std::span(ends_)));
  add(std::as_bytes(std::span(loss_)));
  Footer footer;
  footer.width = static_cast<uint32_t>(width_);
  footer.size = size_;
  footer.documents = ends_.size();
  footer.masked = loss_.empty() ? 0 : 1;
  std::memcpy(footer.key, key_.data(), kHexDigits);
  hash_.update(hashed_part(footer));
  std::memcpy(footer.hash, hash_.hex().data(), kHexDigits);
  std::memcpy(footer.magic, kMagic, sizeof kMagic);
  file_.write(std::as_bytes(std::span(&footer, 1)));
  file_.commit();
}

}  // namespace sterna::data
