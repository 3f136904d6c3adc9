#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sterna::data {

/// How files become documents.
struct DocumentOptions {
  std::vector<std::filesystem::path> files;
  std::string format = "text";  ///< text, or jsonl: one JSON object a line
  std::string field = "text";   ///< of a jsonl object
  std::string separator;        ///< splits a text file; empty: the whole file is one document
  bool strip = true;            ///< white space around a document; a whole file is kept as it is
  std::optional<int64_t> max_documents;
};

/// Calls `take` for each document that is not empty, in order. The view lives during the call.
/// @throws recipes::UserError  a file that cannot be read, or a line that is no such object
void for_each_document(const DocumentOptions& options,
                       const std::function<void(std::string_view)>& take);

/// SHA-256 over the contents of the files, in order.
std::string content_hash(const std::vector<std::filesystem::path>& files);

}  // namespace sterna::data
