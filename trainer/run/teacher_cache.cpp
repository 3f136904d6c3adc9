// A part: rows; for each row its key and the first half of its SHA-256, as 32 hex digits each; a
// footer with magic, version, counts, the hash of the terms and a SHA-256 over table and footer.
#include "trainer/run/teacher_cache.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include <nlohmann/json.hpp>

#include "recipes/user_error.h"
#include "trainer/io/atomic_file.h"
#include "trainer/io/json.h"
#include "trainer/io/sha256.h"
#include "trainer/io/tensor_file.h"

namespace sterna::run {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

static_assert(std::endian::native == std::endian::little, "the file is little-endian");

constexpr char kMagic[8] = {'S', 'T', 'R', 'N', 'T', 'C', 'H', '\n'};
constexpr uint64_t kVersion = 1;
constexpr size_t kDigits = 32;  // of a key and of a row's hash
constexpr const char* kTermsFile = "teacher.json";

struct Footer {
  uint64_t version = kVersion;
  uint64_t rows = 0;
  uint64_t row_bytes = 0;
  char terms[64] = {};
  char hash[64] = {};  ///< over the table and the fields above
  char magic[8] = {};
};
static_assert(sizeof(Footer) == 160);
constexpr size_t kHashedBytes = offsetof(Footer, hash);

std::string half_hash(std::span<const std::byte> bytes) {
  return io::sha256_hex(bytes).substr(0, kDigits);
}

std::string hash_of_table(std::span<const std::byte> table, const Footer& footer) {
  io::Sha256 hash;
  hash.update(table);
  hash.update(std::as_bytes(std::span(&footer, 1)).first(kHashedBytes));
  return hash.hex();
}

std::span<const std::byte> row_of(const Tensor& table, int64_t row) {
  const Tensor whole = table[row];
  TORCH_CHECK(whole.is_contiguous(), "sample_key: expected contiguous rows");
  return {static_cast<const std::byte*>(whole.const_data_ptr()), whole.nbytes()};
}

}  // namespace

std::string sample_key(const Inputs& inputs, int64_t row) {
  io::Sha256 hash;
  hash.update(row_of(inputs.tokens, row));
  if (inputs.documents.defined()) {
    hash.update("documents");
    hash.update(row_of(inputs.documents, row));
  }
  return hash.hex().substr(0, kDigits);
}

TeacherCache::TeacherCache(const fs::path& folder, const Terms& terms, int64_t row_bytes)
    : folder_(folder), row_bytes_(row_bytes) {
  const std::string text = json{{"format", 1}, {"terms", terms}}.dump(1) + "\n";
  terms_hash_ = io::sha256_hex(std::as_bytes(std::span(text)));
  const fs::path file = folder / kTermsFile;
  if (fs::exists(file)) {
    require_terms(terms);
  } else {
    fs::create_directories(folder);
    io::write_atomically(file, text);
  }
  std::vector<fs::path> parts;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.path().extension() == ".part")
      parts.push_back(entry.path());
  std::sort(parts.begin(), parts.end());
  for (const fs::path& path : parts) {
    try {
      open_part(path);
    } catch (const io::FileError& error) {
      // Its rows count as missing, which is what a part that is not there costs.
      fs::rename(path, path.string() + ".damaged");
      damaged_.push_back(error.what());
    }
  }
}

void TeacherCache::require_terms(const Terms& terms) const {
  const fs::path file = folder_ / kTermsFile;
  const json stored = io::read_json(file);
  const json* found = stored.is_object() && stored.contains("terms") ? &stored["terms"] : nullptr;
  if (found == nullptr || !found->is_object())
    throw recipes::UserError(file.string() + ": expected the description of a teacher cache");
  std::string apart;
  for (const auto& [name, value] : terms) {
    const auto it = found->find(name);
    const std::string was = it != found->end() && it->is_string() ? it->get<std::string>() : "";
    if (was != value)
      apart += "\n  " + name + ": " + (was.empty() ? "nothing" : was) + " there, " + value + " now";
  }
  if (!apart.empty() || found->size() != terms.size())
    throw recipes::UserError("teacher.cache_dir: " + folder_.string() +
                             " holds what another teacher said:" + apart +
                             "\nName another folder, or remove this one to have it made anew.");
}

void TeacherCache::open_part(const fs::path& path) {
  auto file = std::make_unique<io::MappedFile>(path);
  const std::span<const std::byte> bytes = file->bytes();
  if (bytes.size() < sizeof(Footer))
    file->fail(bytes.size(), "part of a teacher cache shorter than its footer");
  const size_t body = bytes.size() - sizeof(Footer);
  Footer footer;
  std::memcpy(&footer, bytes.data() + body, sizeof footer);
  if (std::memcmp(footer.magic, kMagic, sizeof kMagic) != 0 || footer.version != kVersion)
    file->fail(body, "no part of a teacher cache of this version");
  const uint64_t each = static_cast<uint64_t>(row_bytes_) + 2 * kDigits;
  if (footer.row_bytes != static_cast<uint64_t>(row_bytes_) || footer.rows > body ||
      footer.rows * each != body)
    file->fail(body, "teacher cache: the rows do not fit the file's size");
  if (std::string_view(footer.terms, sizeof footer.terms) != terms_hash_)
    file->fail(body, "teacher cache: a part of another teacher's cache");
  const auto table =
      bytes.subspan(footer.rows * static_cast<uint64_t>(row_bytes_), footer.rows * 2 * kDigits);
  if (hash_of_table(table, footer) != std::string_view(footer.hash, sizeof footer.hash))
    file->fail(body, "teacher cache: the SHA-256 of its table does not match");
  for (uint64_t i = 0; i < footer.rows; ++i) {
    const auto* key = reinterpret_cast<const char*>(table.data()) + i * 2 * kDigits;
    rows_.emplace(std::string(key, kDigits), Place{parts_.size(), static_cast<int64_t>(i)});
  }
  parts_.push_back({std::move(file), static_cast<int64_t>(footer.rows)});
}

std::span<const std::byte> TeacherCache::bytes_of(const Place& place) const {
  return parts_[place.part].file->bytes().subspan(static_cast<size_t>(place.index * row_bytes_),
                                                  static_cast<size_t>(row_bytes_));
}

std::string TeacherCache::hash_of(const Place& place) const {
  const Part& part = parts_[place.part];
  const auto at = static_cast<size_t>(part.rows * row_bytes_) +
                  static_cast<size_t>(place.index) * 2 * kDigits + kDigits;
  return {reinterpret_cast<const char*>(part.file->bytes().data()) + at, kDigits};
}

std::span<const std::byte> TeacherCache::row(const std::string& key) const {
  const auto found = rows_.find(key);
  if (found == rows_.end())
    throw recipes::UserError("teacher.cache_dir: " + folder_.string() +
                             " does not hold what the teacher says about this sample (" + key +
                             "); was its data changed, or a part removed, while it was in use?");
  const std::span<const std::byte> bytes = bytes_of(found->second);
  if (half_hash(bytes) != hash_of(found->second))
    throw recipes::UserError(parts_[found->second.part].file->path().string() + ": row " +
                             std::to_string(found->second.index) +
                             " of the teacher's answers does not match its SHA-256; remove the "
                             "file, and --resume has these answers made anew");
  return bytes;
}

void TeacherCache::release(const std::string& key) const {
  io::release_pages(bytes_of(rows_.at(key)));
}

void TeacherCache::add(const std::string& key, std::vector<std::byte> row) {
  TORCH_CHECK(static_cast<int64_t>(row.size()) == row_bytes_,
              "teacher cache: expected a row of ",
              row_bytes_,
              " bytes, got ",
              row.size());
  if (!holds(key))
    waiting_.emplace(key, std::move(row));
}

void TeacherCache::commit() {
  if (waiting_.empty())
    return;
  std::string table;
  for (const auto& [key, row] : waiting_)
    table += key + half_hash(row);
  Footer footer;
  footer.rows = waiting_.size();
  footer.row_bytes = static_cast<uint64_t>(row_bytes_);
  std::memcpy(footer.terms, terms_hash_.data(), sizeof footer.terms);
  const auto table_bytes = std::as_bytes(std::span(table));
  std::memcpy(footer.hash, hash_of_table(table_bytes, footer).data(), sizeof footer.hash);
  std::memcpy(footer.magic, kMagic, sizeof kMagic);
  // Named by what it holds: two writers of the same folder cannot clash.
  const fs::path path = folder_ / (half_hash(table_bytes) + ".part");
  io::AtomicFile file(path);
  for (const auto& [key, row] : waiting_)
    file.write(row);
  file.write(table_bytes);
  file.write(std::as_bytes(std::span(&footer, 1)));
  file.commit();
  waiting_.clear();
  open_part(path);
}

}  // namespace sterna::run
