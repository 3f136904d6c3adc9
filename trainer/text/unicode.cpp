#include "trainer/text/unicode.h"

#include <algorithm>
#include <cstdlib>
#include <new>
#include <utf8proc.h>
#include <vector>

#include "trainer/text/unicode_tables.h"
#include "trainer/text/utf8.h"

namespace sterna::text {
namespace {

enum Set : uint16_t {
  kIsLetter = 1,
  kIsNumber = 2,
  kIsNumeric = 4,
  kIsPunctuation = 8,
  kIsMark = 16,
  kIsNonspacing = 32,
  kIsNoText = 64,
  kIsWord = 128,
  kIsUnknown = 256,
};

constexpr size_t kCodePoints = 0x110000;

void add_set(std::vector<uint16_t>& sets, const char* runs, Set set) {
  bool inside = false;
  size_t at = 0;
  for (char* next = nullptr; *runs != '\0'; runs = next + 1) {
    const size_t end = std::min<size_t>(at + std::strtoull(runs, &next, 10), kCodePoints);
    for (; at < end; ++at)
      sets[at] = static_cast<uint16_t>(inside ? sets[at] | set : sets[at]);
    inside = !inside;
  }
}

const std::vector<uint16_t>& all_sets() {
  static const auto kSets = [] {
    std::vector<uint16_t> sets(kCodePoints);
    add_set(sets, kLetterRuns, kIsLetter);
    add_set(sets, kNumberRuns, kIsNumber);
    add_set(sets, kNumericRuns, kIsNumeric);
    add_set(sets, kPunctuationRuns, kIsPunctuation);
    add_set(sets, kMarkRuns, kIsMark);
    add_set(sets, kNonspacingRuns, kIsNonspacing);
    add_set(sets, kOtherRuns, kIsNoText);
    add_set(sets, kWordRuns, kIsWord);
    add_set(sets, kUnknownRuns, kIsUnknown);
    return sets;
  }();
  return kSets;
}

bool is_in(char32_t c, Set set) {
  return c < kCodePoints && (all_sets()[c] & set) != 0;
}

utf8proc_option_t options_of(Form form) {
  const int compose =
      form == Form::kNfc || form == Form::kNfkc ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE;
  const int compat = form == Form::kNfkc || form == Form::kNfkd ? UTF8PROC_COMPAT : 0;
  return static_cast<utf8proc_option_t>(UTF8PROC_STABLE | compose | compat);
}

void append_form(std::string& out, std::string_view text, Form form) {
  utf8proc_uint8_t* result = nullptr;
  const utf8proc_ssize_t size = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                             static_cast<utf8proc_ssize_t>(text.size()),
                                             &result,
                                             options_of(form));
  if (size < 0) {
    throw std::bad_alloc();  // valid UTF-8 can fail for no other reason
  }
  out.append(reinterpret_cast<const char*>(result), static_cast<size_t>(size));
  std::free(result);
}

// Characters that Hugging Face's tables do not know stand as they are, and no mark moves or joins
// over them.
void append_normalized(std::string& out, std::string_view text, Form form) {
  size_t done = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    if (is_in(next_code_point(text, at), kIsUnknown)) {
      append_form(out, text.substr(done, begin - done), form);
      out.append(text, begin, at - begin);
      done = at;
    }
  }
  append_form(out, text.substr(done), form);
}

// Lower case that Unicode 16 and 17 added, for libraries that do not have it yet.
char32_t later_lower(char32_t c) {
  if ((c >= 0x10D50 && c <= 0x10D65) || (c >= 0x16EA0 && c <= 0x16EB8))
    return c < 0x11000 ? c + 0x20 : c + 0x1B;
  switch (c) {
    case 0x1C89:
    case 0xA7CC:
    case 0xA7CE:
    case 0xA7D2:
    case 0xA7D4:
    case 0xA7DA:
      return c + 1;
    case 0xA7CB:
      return 0x264;
    case 0xA7DC:
      return 0x19B;
    default:
      return c;
  }
}

}  // namespace

CharClass char_class(char32_t c) {
  const uint16_t sets = c < kCodePoints ? all_sets()[c] : uint16_t{0};
  return (sets & kIsLetter) != 0   ? CharClass::kLetter
         : (sets & kIsNumber) != 0 ? CharClass::kNumber
         : is_space(c)             ? CharClass::kSpace
                                   : CharClass::kOther;
}

bool is_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

bool is_numeric(char32_t c) {
  return is_in(c, kIsNumeric);
}

bool is_punctuation(char32_t c) {
  return is_in(c, kIsPunctuation);
}

bool is_mark(char32_t c) {
  return is_in(c, kIsMark);
}

bool is_nonspacing(char32_t c) {
  return is_in(c, kIsNonspacing);
}

bool is_no_text(char32_t c) {
  return is_in(c, kIsNoText);
}

bool is_ideograph(char32_t c) {
  return (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x4E00 && c <= 0x9FFF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x20000 && c <= 0x2A6DF) ||
         (c >= 0x2A700 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
         (c >= 0x2F800 && c <= 0x2FA1F);
}

bool is_word(char32_t c) {
  return is_in(c, kIsWord);
}

std::string normalize(std::string_view text, Form form) {
  std::string out;
  out.reserve(text.size() + 16);
  // No ASCII character is the second of a composition, so text may be cut before any of them.
  size_t done = 0;
  for (size_t at = 0; at < text.size();) {
    if (static_cast<unsigned char>(text[at]) < 0x80) {
      ++at;
      continue;
    }
    const size_t begin = at > done ? at - 1 : at;
    out.append(text, done, begin - done);
    while (at < text.size() && static_cast<unsigned char>(text[at]) >= 0x80) {
      ++at;
    }
    append_normalized(out, text.substr(begin, at - begin), form);
    done = at;
  }
  out.append(text, done);
  return out;
}

std::string lowercase(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const char32_t c = next_code_point(text, at);
    if (c == 0x130) {
      out += "i\u0307";  // the only lower-case mapping to two characters
    } else {
      const auto lower = static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c)));
      append_utf8(out, lower == c ? later_lower(c) : lower);
    }
  }
  return out;
}

std::string uppercase(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const char32_t c = next_code_point(text, at);
    if (c == 0xDF) {
      out += "SS";
    } else {
      append_utf8(out, static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c))));
    }
  }
  return out;
}

}  // namespace sterna::text
