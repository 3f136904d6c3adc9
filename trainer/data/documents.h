#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace sterna::data {

/// Bytes of some files, one behind the other.
struct ByteRange {
  uint64_t begin = 0;
  uint64_t end = std::numeric_limits<uint64_t>::max();

  bool holds(uint64_t at) const { return at >= begin && at < end; }
};

/// How files become documents.
struct DocumentOptions {
  std::vector<std::filesystem::path> files;
  std::string format = "text";  ///< text, or jsonl: one JSON object a line
  std::string field = "text";   ///< of a jsonl object
  std::string separator;        ///< splits a text file; empty: the whole file is one document
  bool strip = true;            ///< white space around a document; a whole file is kept as it is
  std::optional<int64_t> max_documents;
  ByteRange part{};  ///< only documents that begin there; not together with max_documents
};

/// Calls `take` for each document that is not empty, in order. The view lives during the call.
/// @throws recipes::UserError  a file that cannot be read, or a line that is no such object
void for_each_document(const DocumentOptions& options,
                       const std::function<void(std::string_view)>& take);

/// Calls `take` for each line of JSON lines that is not blank. A UserError of `take` is given the
/// file and line.
/// @throws recipes::UserError  a file that cannot be read, or a line that is no object
void for_each_record(const DocumentOptions& options,
                     const std::function<void(const nlohmann::json&)>& take);

/// Whether a document belongs to the held-out share: by its hash alone, so that it stays on its
/// side when others come or go.
/// @param share  0 to 1
bool is_held_out(std::string_view document, double share);

/// Without the white space around it, as Python's str.strip sees it.
std::string_view stripped(std::string_view text);

/// SHA-256 over the contents of the files, in order.
std::string content_hash(const std::vector<std::filesystem::path>& files);

}  // namespace sterna::data
