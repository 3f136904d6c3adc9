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

  void text(std::string_view whole) {
    if (options_.separator.empty()) {
      pass(whole);
      return;
    }
    for (size_t begin = 0; !full();) {
      const size_t end = whole.find(options_.separator, begin);
      pass(options_.strip ? stripped(whole.substr(begin, end - begin))
                          : whole.substr(begin, end - begin));
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

/// Calls `take` with every object of a file of JSON lines until it returns false.
void each_object(std::string_view whole,
                 const std::string& file,
                 const std::function<bool(const nlohmann::json&)>& take) {
  int64_t number = 0;
  bool go_on = true;
  for (size_t begin = 0; begin < whole.size() && go_on;) {
    const size_t end = std::min(whole.find('\n', begin), whole.size());
    const std::string_view line = whole.substr(begin, end - begin);
    begin = end + 1;
    ++number;
    if (stripped(line).empty())
      continue;
    try {
      const auto parsed = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
      if (!parsed.is_object())
        throw recipes::UserError("expected a JSON object on each line");
      go_on = take(parsed);
    } catch (const recipes::UserError& error) {
      throw recipes::UserError(file + ":" + std::to_string(number) + ": " + error.what());
    }
  }
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
  int64_t left = options.max_documents.value_or(std::numeric_limits<int64_t>::max());
  for (const std::filesystem::path& path : options.files) {
    if (left <= 0)
      return;
    const io::MappedFile file(path);
    each_object(text_of(file), path.string(), [&](const nlohmann::json& record) {
      take(record);
      return --left > 0;
    });
  }
}

void for_each_document(const DocumentOptions& options,
                       const std::function<void(std::string_view)>& take) {
  Reader reader(options, take);
  for (const std::filesystem::path& path : options.files) {
    if (reader.full()) {
      return;
    }
    const io::MappedFile file(path);
    if (options.format == "jsonl") {
      each_object(text_of(file), path.string(), [&](const nlohmann::json& object) {
        reader.object(object);
        return !reader.full();
      });
    } else {
      reader.text(text_of(file));
    }
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
