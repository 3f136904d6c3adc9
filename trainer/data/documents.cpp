#include "trainer/data/documents.h"

#include <algorithm>
#include <limits>

#include <nlohmann/json.hpp>

#include "recipes/user_error.h"
#include "trainer/io/mapped_file.h"
#include "trainer/io/sha256.h"
#include "trainer/text/unicode.h"
#include "trainer/text/utf8.h"

namespace sterna::data {
namespace {

// White space as Python's str.strip sees it.
bool is_blank(char32_t c) {
  return text::is_space(c) || (c >= 0x1C && c <= 0x1F);
}

std::string_view text_of(const io::MappedFile& file) {
  const std::span<const std::byte> bytes = file.bytes();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

class Reader {
 public:
  Reader(const DocumentOptions& options, const std::function<void(std::string_view)>& take)
      : options_(options), take_(take) {}

  void object(const nlohmann::json& object) {
    const auto found = object.find(options_.field);
    if (found == object.end() || !found->is_string()) {
      throw recipes::UserError("the object has no text under \"" + options_.field +
                               "\" (data.field)");
    }
    const auto& document = found->get_ref<const std::string&>();
    pass(options_.strip ? stripped(document) : std::string_view(document));
  }

  bool full() const { return options_.max_documents && taken_ >= *options_.max_documents; }

  /// @param base  bytes of the files before
  void text(std::string_view whole, uint64_t base) {
    if (options_.separator.empty()) {
      if (options_.part.holds(base))
        pass(whole);
      return;
    }
    for (size_t begin = 0; !full() && base + begin < options_.part.end;) {
      const size_t end = whole.find(options_.separator, begin);
      const std::string_view document = whole.substr(begin, end - begin);
      if (options_.part.holds(base + begin))
        pass(options_.strip ? stripped(document) : document);
      if (end == whole.npos) {
        break;
      }
      begin = end + options_.separator.size();
    }
  }

 private:
  void pass(std::string_view document) {
    if (!document.empty()) {
      ++taken_;
      take_(document);
    }
  }

  const DocumentOptions& options_;
  const std::function<void(std::string_view)>& take_;
  int64_t taken_ = 0;
};

/// A file of JSON lines, or what of it is asked for.
struct Lines {
  std::string_view whole;
  const std::filesystem::path& file;
  ByteRange part;  ///< of the file
};

/// Calls `take` with every object until it returns false.
void each_object(const Lines& lines, const std::function<bool(const nlohmann::json&)>& take) {
  const std::string_view whole = lines.whole;
  int64_t number = 0;
  bool go_on = true;
  for (size_t begin = 0; begin < whole.size() && begin < lines.part.end && go_on;) {
    const size_t end = std::min(whole.find('\n', begin), whole.size());
    const std::string_view line = whole.substr(begin, end - begin);
    const bool asked = lines.part.holds(begin);
    begin = end + 1;
    ++number;
    if (!asked || stripped(line).empty())
      continue;
    try {
      const auto parsed = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
      if (!parsed.is_object())
        throw recipes::UserError("expected a JSON object on each line");
      go_on = take(parsed);
    } catch (const recipes::UserError& error) {
      throw recipes::UserError(lines.file.string() + ":" + std::to_string(number) + ": " +
                               error.what());
    }
  }
}

/// What of a range lies behind so many bytes.
ByteRange behind(const ByteRange& range, uint64_t base) {
  constexpr uint64_t kEnd = std::numeric_limits<uint64_t>::max();
  return {range.begin > base ? range.begin - base : 0,
          range.end == kEnd ? kEnd : (range.end > base ? range.end - base : 0)};
}

}  // namespace

std::string_view stripped(std::string_view text) {
  size_t begin = 0;
  for (size_t at = 0; at < text.size() && is_blank(text::next_code_point(text, at));) {
    begin = at;
  }
  text.remove_prefix(begin);
  while (!text.empty()) {
    size_t last = text.size() - 1;
    while (last > 0 && (static_cast<unsigned char>(text[last]) & 0xC0) == 0x80) {
      --last;
    }
    size_t at = last;
    if (!is_blank(text::next_code_point(text, at))) {
      break;
    }
    text.remove_suffix(text.size() - last);
  }
  return text;
}

bool is_held_out(std::string_view document, double share) {
  if (share <= 0)
    return false;
  const std::string hash = io::sha256_hex(std::as_bytes(std::span(document)));
  const auto first = static_cast<double>(std::stoull(hash.substr(0, 13), nullptr, 16));
  return first < share * 0x1p52;  // 13 hex digits: exact in a double
}

void for_each_record(const DocumentOptions& options,
                     const std::function<void(const nlohmann::json&)>& take) {
  uint64_t base = 0;
  int64_t left = options.max_documents.value_or(std::numeric_limits<int64_t>::max());
  for (const std::filesystem::path& path : options.files) {
    if (left <= 0)
      return;
    const io::MappedFile file(path);
    const std::string_view whole = text_of(file);
    each_object({whole, path, behind(options.part, base)}, [&](const nlohmann::json& record) {
      take(record);
      return --left > 0;
    });
    base += whole.size();
  }
}

void for_each_document(const DocumentOptions& options,
                       const std::function<void(std::string_view)>& take) {
  Reader reader(options, take);
  uint64_t base = 0;
  for (const std::filesystem::path& path : options.files) {
    if (reader.full()) {
      return;
    }
    const io::MappedFile file(path);
    const std::string_view whole = text_of(file);
    if (options.format == "jsonl") {
      each_object({whole, path, behind(options.part, base)}, [&](const nlohmann::json& object) {
        reader.object(object);
        return !reader.full();
      });
    } else {
      reader.text(whole, base);
    }
    base += whole.size();
  }
}

std::string content_hash(const std::vector<std::filesystem::path>& files) {
  io::Sha256 hash;
  for (const std::filesystem::path& path : files) {
    const io::MappedFile file(path);
    hash.update(std::to_string(file.bytes().size()) + ":");
    hash.update(file.bytes());
  }
  return hash.hex();
}

}  // namespace sterna::data
