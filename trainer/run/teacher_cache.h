#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "trainer/io/mapped_file.h"
#include "trainer/run/inputs.h"

namespace sterna::run {

/// 32 hex digits over a sample's input ids and documents: what a teacher's answer depends on.
std::string sample_key(const Inputs& inputs, int64_t row);

/// A folder of what a teacher said about samples: `teacher.json` names what the answers depend on
/// beside the sample, parts hold rows of one length, each under the key of its sample. A row is
/// found by what it answers, so neither order, seed, epoch nor resuming can mistake one for
/// another. A part appears whole or not at all: whatever stopped the writer, what is there stays
/// good and the rest is added.
class TeacherCache {
 public:
  using Terms = std::map<std::string, std::string>;  ///< key of the recipe -> value or hash

  /// Opens a folder, or begins one.
  /// @param terms  what the rows depend on
  /// @throws recipes::UserError  for another's folder, naming each term that differs
  /// A damaged part is renamed and told by damaged(); its rows are missing then.
  TeacherCache(const std::filesystem::path& folder, const Terms& terms, int64_t row_bytes);

  const std::filesystem::path& folder() const { return folder_; }
  const std::vector<std::string>& damaged() const { return damaged_; }
  int64_t size() const { return static_cast<int64_t>(rows_.size()); }
  /// Also what add() keeps.
  bool holds(const std::string& key) const { return rows_.contains(key) || waiting_.contains(key); }

  /// Mapped from the file; checked against its hash.
  /// @throws recipes::UserError  where that does not match, or there is no such row
  std::span<const std::byte> row(const std::string& key) const;

  /// Lets go of a row's memory; it can be read again.
  void release(const std::string& key) const;

  /// Keeps a row for the next part; does nothing where the key is there.
  void add(const std::string& key, std::vector<std::byte> row);

  /// Writes what add() kept, and maps it.
  void commit();

 private:
  struct Place {
    size_t part;
    int64_t index;
  };
  struct Part {
    std::unique_ptr<io::MappedFile> file;
    int64_t rows;
  };
  void require_terms(const Terms& terms) const;
  void open_part(const std::filesystem::path& path);
  std::span<const std::byte> bytes_of(const Place& place) const;
  std::string hash_of(const Place& place) const;

  std::filesystem::path folder_;
  int64_t row_bytes_;
  std::string terms_hash_;
  std::vector<Part> parts_;
  std::vector<std::string> damaged_;
  std::unordered_map<std::string, Place> rows_;
  std::map<std::string, std::vector<std::byte>> waiting_;
};

}  // namespace sterna::run
