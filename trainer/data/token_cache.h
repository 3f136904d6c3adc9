#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "trainer/io/atomic_file.h"
#include "trainer/io/mapped_file.h"
#include "trainer/io/sha256.h"

namespace sterna::data {

/// A tokenized text on disk: ids as little-endian uint16 or uint32 from byte 0; from the next
/// multiple of 8 the end of each document as uint64; where something carries no loss, a byte for
/// each id; then a fixed footer with magic, version, width, counts, key and a SHA-256 over all of
/// it.
class TokenCache {
 public:
  /// Maps a cache and checks all of it.
  /// @param key  64 hex digits that the cache must have been made for
  /// @throws io::FileError  naming the check that failed
  TokenCache(const std::filesystem::path& path, const std::string& key);

  int64_t size() const { return size_; }
  /// Documents without a token are not counted.
  int64_t documents() const { return documents_; }

  /// Token `index`, 0 to size()-1.
  int32_t at(int64_t index) const;

  /// Whether token `index` is to be predicted.
  bool is_target(int64_t index) const;

  /// False where every token is to be.
  bool masked() const { return loss_at_ != 0; }

  /// Where document `document` ends, that is, where the next one begins.
  int64_t end_of(int64_t document) const;

  /// The document that token `index` belongs to.
  int64_t document_of(int64_t index) const;

 private:
  void check_documents() const;

  io::MappedFile file_;
  int64_t size_ = 0;
  int64_t documents_ = 0;
  int width_ = 0;
  size_t ends_at_ = 0;  ///< byte
  size_t loss_at_ = 0;  ///< byte; 0: every token is a target
};

/// Writes a token cache beside its name and renames it, so that two processes may build the same
/// one.
class TokenCacheWriter {
 public:
  /// @param vocab_size  decides the width of an id
  TokenCacheWriter(const std::filesystem::path& path, const std::string& key, int64_t vocab_size);

  /// @param loss  of each id; empty: all are targets
  void add_document(std::span<const int32_t> ids, std::span<const uint8_t> loss = {});
  void commit();

 private:
  void add(std::span<const std::byte> bytes);
  void flush();

  io::AtomicFile file_;
  io::Sha256 hash_;
  std::string key_;
  int width_;
  uint64_t size_ = 0;
  std::vector<uint64_t> ends_;
  std::vector<uint8_t> loss_;  ///< empty as long as all are targets
  std::string buffer_;
};

}  // namespace sterna::data
