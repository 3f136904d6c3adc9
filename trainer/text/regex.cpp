#define PCRE2_CODE_UNIT_WIDTH 8
#include "trainer/text/regex.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <stdexcept>

#include <pcre2.h>

#include "recipes/user_error.h"
#include "trainer/text/utf8.h"

namespace sterna::text {
namespace {

using MatchData = std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)>;

// Only the whole match is asked for, so one block serves every pattern of a thread.
pcre2_match_data* match_data() {
  thread_local const MatchData data(pcre2_match_data_create(1, nullptr), &pcre2_match_data_free);
  return data.get();
}

constexpr const char* kSpaces =
    R"(\t-\r\x{20}\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";
// Of the numbers that are no digits, Oniguruma's \w holds Latin-1's alone.
constexpr const char* kWord = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{B2}\x{B3}\x{B9}\x{BC}-\x{BE})";

// PCRE2's \s holds U+180E and its \w lacks marks; Oniguruma's are spelled out instead.
std::string translate(const std::string& pattern) {
  std::string out;
  bool in_class = false;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '\\' && i + 1 < pattern.size()) {
      const char next = pattern[++i];
      const char* set = next == 's' || next == 'S'   ? kSpaces
                        : next == 'w' || next == 'W' ? kWord
                                                     : nullptr;
      const bool negated = next == 'S' || next == 'W';
      if (set == nullptr || (in_class && negated)) {
        out += {'\\', next};
      } else if (in_class) {
        out += set;
      } else {
        out += std::string(negated ? "[^" : "[") + set + "]";
      }
      continue;
    }
    if (in_class && pattern.compare(i, 2, "[:") == 0) {  // [[:alpha:]]
      const size_t end = std::min(pattern.find(":]", i), pattern.size() - 2) + 2;
      out.append(pattern, i, end - i);
      i = end - 1;
      continue;
    }
    if (in_class && c == '&' && i + 1 < pattern.size() && pattern[i + 1] == '&') {
      throw recipes::UserError("tokenizer: the regular expression " + pattern +
                               " intersects character classes (&&), which is not supported");
    }
    in_class = c == '[' || (in_class && c != ']');
    out += c;
  }
  return out;
}

}  // namespace

struct Regex::Code {
  pcre2_code* code = nullptr;
  std::string pattern;
  ~Code() { pcre2_code_free(code); }
};

Regex::Regex(const std::string& pattern) : code_(std::make_unique<Code>()) {
  const std::string translated = translate(pattern);
  int error = 0;
  PCRE2_SIZE at = 0;
  code_->pattern = pattern;
  code_->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()),
                              translated.size(),
                              PCRE2_UTF | PCRE2_UCP,
                              &error,
                              &at,
                              nullptr);
  if (code_->code == nullptr) {
    std::array<PCRE2_UCHAR, 256> text{};
    pcre2_get_error_message(error, text.data(), text.size());
    throw recipes::UserError("tokenizer: cannot read the regular expression " + pattern + ": " +
                             reinterpret_cast<const char*>(text.data()));
  }
  pcre2_jit_compile(code_->code, PCRE2_JIT_COMPLETE);  // without JIT it is slower, no more
}

Regex::~Regex() = default;

void Regex::for_each(std::string_view text,
                     const std::function<void(size_t, size_t)>& found) const {
  pcre2_match_data* data = match_data();
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  size_t from = 0;
  while (from <= text.size()) {
    int count =
        pcre2_match(code_->code, subject, text.size(), from, PCRE2_NO_UTF_CHECK, data, nullptr);
    if (count == PCRE2_ERROR_JIT_STACKLIMIT) {
      count = pcre2_match(code_->code,
                          subject,
                          text.size(),
                          from,
                          PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                          data,
                          nullptr);
    }
    if (count == PCRE2_ERROR_NOMATCH) {
      return;
    }
    if (count < 0) {
      throw std::runtime_error("tokenizer: PCRE2 error " + std::to_string(count) + " in " +
                               code_->pattern);
    }
    const PCRE2_SIZE* range = pcre2_get_ovector_pointer(data);
    const size_t begin = range[0];
    const size_t end = range[1];
    found(begin, end);
    from = end > begin ? end : end < text.size() ? end + utf8_length(text[end]) : end + 1;
  }
}

std::string quote_regex(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x80 && std::isalnum(static_cast<unsigned char>(c)) == 0) {
      out += '\\';
    }
    out += c;
  }
  return out;
}

}  // namespace sterna::text
