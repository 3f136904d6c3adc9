#include "recipes/key_depth.h"

namespace sterna::recipes {
namespace {

/// Position behind the text in quotes that begins at `at`; the end where it is not closed.
size_t behind_quotes(std::string_view text, size_t at) {
  const char quote = text[at];
  const bool three = text.substr(at, 3) == std::string_view(quote == '"' ? "\"\"\"" : "'''");
  const size_t width = three ? 3 : 1;
  for (at += width; at < text.size(); ++at) {
    if (text[at] == '\\' && quote == '"')
      ++at;
    else if (text.substr(at, width) == std::string_view(quote == '"' ? "\"\"\"" : "'''", width))
      return at + width;
    else if (text[at] == '\n' && !three)
      return at;
  }
  return text.size();
}

bool goes_on(char c) {
  const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  return letter || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == ' ' || c == '\t' ||
         static_cast<unsigned char>(c) >= 0x80;
}

}  // namespace

DeepKey find_deep_key(std::string_view text, size_t most) {
  int line = 1;
  size_t parts = 1;
  for (size_t at = 0; at < text.size();) {
    const char c = text[at];
    if (c == '"' || c == '\'') {
      const size_t end = behind_quotes(text, at);
      for (; at < end; ++at)
        line += text[at] == '\n' ? 1 : 0;
      continue;
    }
    if (c == '#') {
      at = text.find('\n', at);
      at = at == std::string_view::npos ? text.size() : at;
      continue;
    }
    if (c == '.' && ++parts > most)
      return {line};
    if (c != '.' && !goes_on(c))
      parts = 1;
    line += c == '\n' ? 1 : 0;
    ++at;
  }
  return {};
}

}  // namespace sterna::recipes
