#define PCRE2_CODE_UNIT_WIDTH 8
#include "trainer/text/regex.h"

#include <algorithm>
#include <array>
#include <cctype>

#include <pcre2.h>

#include "recipes/user_error.h"
#include "trainer/text/unicode_tables.h"
#include "trainer/text/utf8.h"

namespace sterna::text {
namespace {

using MatchData = std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)>;

// Only the whole match is asked for, so one block serves every pattern of a thread.
pcre2_match_data* match_data() {
  thread_local const MatchData data(pcre2_match_data_create(1, nullptr), &pcre2_match_data_free);
  return data.get();
}

std::string message_of(int error) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(error, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

constexpr const char* kSpaces =
    R"(\t-\r\x{20}\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";
// Of the numbers that are no digits, Oniguruma's \w holds Latin-1's alone.
constexpr const char* kWord = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{B2}\x{B3}\x{B9}\x{BC}-\x{BE})";

// PCRE2 may know an older Unicode than Oniguruma: what \p{`name`} lacks there, for every category
// that begins with `name`.
std::string later(std::string_view name) {
  std::string ranges;
  for (const LaterCategory& one : kLaterCategories) {
    if (std::string_view(one.name).starts_with(name))
      ranges += one.ranges;
  }
  return ranges;
}

/// \p{name} or \P{name} at `at`, behind which it is moved; "" for anything else.
std::string translate_property(const std::string& pattern, bool in_class, size_t& at) {
  const bool negated = pattern[at + 1] == 'P';
  const size_t end = pattern.find('}', at);
  if (end == std::string::npos || (in_class && negated))
    return "";
  const std::string name = pattern.substr(at + 3, end - at - 3);
  const std::string more = name.empty() ? "" : later(name);
  if (more.empty())
    return "";
  at = end + 1;
  const std::string all = "\\p{" + name + "}" + more;
  return in_class ? all : (negated ? "[^" : "[") + all + "]";
}

std::string word_class() {
  return kWord + later("L") + later("M") + later("Nd");
}

/// What Oniguruma's \s, \w, \S, \W and POSIX brackets hold, as part of a class; "" for others.
std::string named_class(std::string_view name) {
  const std::string alphabetic = "\\p{Alphabetic}" + later("L");
  const std::pair<std::string_view, std::string> kClasses[] = {
      {"s", kSpaces},
      {"S", kSpaces},
      {"w", word_class()},
      {"W", word_class()},
      {"[:space:]", kSpaces},
      {"[:word:]", word_class()},
      {"[:alpha:]", alphabetic},
      {"[:alnum:]", alphabetic + "\\p{Nd}" + later("Nd")},
      {"[:punct:]", "\\p{P}\\p{S}" + later("P") + later("S")}};
  for (const auto& [each, text] : kClasses) {
    if (each == name)
      return text;
  }
  return "";
}

/// Respells a pattern of Oniguruma's for PCRE2, whose \s holds U+180E, whose \w lacks marks, and
/// which knows no classes within classes.
class Translator {
 public:
  explicit Translator(const std::string& pattern) : pattern_(pattern) {}

  std::string run() {
    while (at_ < pattern_.size()) {
      if (pattern_[at_] == '\\' && at_ + 1 < pattern_.size()) {
        escape();
      } else if (depth_ > 0) {
        member();
      } else {
        depth_ = pattern_[at_] == '[' ? 1 : 0;
        out_ += pattern_[at_++];
      }
    }
    return out_;
  }

 private:
  void escape() {
    const char next = pattern_[at_ + 1];
    if (next == 'p' || next == 'P') {
      if (pattern_.compare(at_ + 2, 1, "{") != 0) {  // no property to Oniguruma
        out_ += next;
        at_ += 2;
        return;
      }
      if (const std::string property = translate_property(pattern_, depth_ > 0, at_);
          !property.empty()) {
        out_ += property;
        return;
      }
    }
    at_ += 2;
    const std::string set = named_class(std::string(1, next));
    const bool negated = next == 'S' || next == 'W';
    if (set.empty() || (depth_ > 0 && negated)) {
      out_ += {'\\', next};
    } else {
      out_ += depth_ > 0 ? set : std::string(negated ? "[^" : "[") + set + "]";
    }
  }

  /// Something inside a class.
  void member() {
    const char c = pattern_[at_];
    if (pattern_.compare(at_, 2, "[:") == 0) {  // [[:alpha:]]
      const size_t end = std::min(pattern_.find(":]", at_), pattern_.size() - 2) + 2;
      const std::string name = pattern_.substr(at_, end - at_);
      const std::string set = named_class(name);
      out_ += set.empty() ? name : set;
      at_ = end;
      return;
    }
    if (pattern_.compare(at_, 2, "&&") == 0)
      refuse_class("intersects character classes (&&)");
    if (pattern_.compare(at_, 2, "[^") == 0)
      refuse_class("negates a character class within another");
    ++at_;
    // What an inner class holds, the outer one holds too.
    depth_ += c == '[' ? 1 : c == ']' ? -1 : 0;
    if (c != '[' && (c != ']' || depth_ == 0))
      out_ += c;
  }

  [[noreturn]] void refuse_class(const char* what) const {
    throw recipes::UserError("tokenizer: the regular expression " + pattern_ + " " + what +
                             ", which is not supported");
  }

  const std::string& pattern_;
  std::string out_;
  size_t at_ = 0;
  int depth_ = 0;  ///< of character classes
};

}  // namespace

struct Regex::Code {
  pcre2_code* code = nullptr;
  std::string pattern;
  ~Code() { pcre2_code_free(code); }
};

Regex::Regex(const std::string& pattern) : code_(std::make_unique<Code>()) {
  const std::string translated = Translator(pattern).run();
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
    throw recipes::UserError("tokenizer: cannot read the regular expression " + pattern + ": " +
                             message_of(error));
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
      throw recipes::UserError("tokenizer: the regular expression " + code_->pattern +
                               " gave up on a text of " + std::to_string(text.size()) +
                               " bytes: " + message_of(count) +
                               "; write it so that it has fewer ways to match, or give text in "
                               "shorter documents");
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
