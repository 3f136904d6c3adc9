#include "trainer/text/unicode.h"

#include <array>
#include <cstdlib>
#include <new>
#include <utf8proc.h>

#include "trainer/text/utf8.h"

namespace sterna::text {
namespace {

utf8proc_category_t category(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

CharClass classify(char32_t c) {
  if (is_space(c)) {
    return CharClass::kSpace;
  }
  switch (category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
      return CharClass::kLetter;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
      return CharClass::kNumber;
    default:
      return CharClass::kOther;
  }
}

utf8proc_option_t options_of(Form form) {
  const int compose =
      form == Form::kNfc || form == Form::kNfkc ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE;
  const int compat = form == Form::kNfkc || form == Form::kNfkd ? UTF8PROC_COMPAT : 0;
  return static_cast<utf8proc_option_t>(UTF8PROC_STABLE | compose | compat);
}

void append_normalized(std::string& out, std::string_view text, Form form) {
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

}  // namespace

CharClass char_class(char32_t c) {
  // Latin, Greek, Cyrillic and punctuation from a table: text spends its time there.
  static const auto kTable = [] {
    std::array<CharClass, 0x3000> table{};
    for (char32_t i = 0; i < table.size(); ++i) {
      table[i] = classify(i);
    }
    return table;
  }();
  return c < kTable.size() ? kTable[c] : classify(c);
}

bool is_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

bool is_numeric(char32_t c) {
  return char_class(c) == CharClass::kNumber;
}

bool is_punctuation(char32_t c) {
  if (c < 0x80) {
    return (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) ||
           (c >= 123 && c <= 126);
  }
  const utf8proc_category_t found = category(c);
  return found >= UTF8PROC_CATEGORY_PC && found <= UTF8PROC_CATEGORY_PO;
}

bool is_mark(char32_t c) {
  const utf8proc_category_t found = category(c);
  return found >= UTF8PROC_CATEGORY_MN && found <= UTF8PROC_CATEGORY_ME;
}

bool is_word(char32_t c) {
  switch (category(c)) {
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    case UTF8PROC_CATEGORY_SO:  // Other_Alphabetic: letters in circles and squares
      return (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) ||
             (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189);
    default:
      return char_class(c) == CharClass::kLetter || is_mark(c) || c == 0x200C || c == 0x200D;
  }
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
      append_utf8(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
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
