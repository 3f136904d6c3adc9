#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "trainer/io/atomic_file.h"
#include "trainer/io/mapped_file.h"
#include "trainer/io/sha256.h"

namespace sterna::data {

/// A tokenized text on disk: ids as little-endian uint16 or uint32 from byte 0, and behind them a
/// fixed footer with magic, version, width, counts, key and a SHA-256 over all of it.
class TokenCache {
 public:
  /// Maps a cache and checks all of it.
  /// @param key  64 hex digits that the cache must have been made for
  /// @throws io::FileError  naming the check that failed
  TokenCache(const std::filesystem::path& path, const std::string& key);

  int64_t size() const { return size_; }
  int64_t documents() const { return documents_; }

  /// Token `index`, 0 to size()-1.
  int32_t at(int64_t index) const;

 private:
  io::MappedFile file_;
  int64_t size_ = 0;
  int64_t documents_ = 0;
  int width_ = 0;
};

/// Writes a token cache beside its name and renames it, so that two processes may build the same
/// one.
class TokenCacheWriter {
 public:
  /// @param vocab_size  decides the width of an id
  TokenCacheWriter(const std::filesystem::path& path, const std::string& key, int64_t vocab_size);

  void add_document(std::span<const int32_t> ids);
  void commit();

 private:
  void flush();

  io::AtomicFile file_;
  io::Sha256 hash_;
  std::string key_;
  int width_;
  uint64_t size_ = 0;
  uint64_t documents_ = 0;
  std::string buffer_;
};

}  // namespace sterna::data
