#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace sterna::text {

/// A regular expression as Hugging Face tokenizers read it (Oniguruma's Unicode classes), run by
/// PCRE2's JIT. May be used by several threads.
class Regex {
 public:
  /// @throws recipes::UserError  with the pattern, the position and PCRE2's words
  explicit Regex(const std::string& pattern);
  ~Regex();
  Regex(const Regex&) = delete;
  Regex& operator=(const Regex&) = delete;

  /// Calls `found(begin, end)` for every match from left to right, without overlap.
  /// @param text  valid UTF-8
  /// @throws recipes::UserError  with the pattern, where it has too many ways to match `text`
  void for_each(std::string_view text, const std::function<void(size_t, size_t)>& found) const;

 private:
  struct Code;
  std::unique_ptr<Code> code_;
};

/// `text` as a pattern that matches it literally.
std::string quote_regex(std::string_view text);

}  // namespace sterna::text
