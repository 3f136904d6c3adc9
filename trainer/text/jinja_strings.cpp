#include "trainer/text/jinja_strings.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "trainer/text/unicode.h"
#include "trainer/text/utf8.h"

namespace sterna::text::jinja {
namespace {

constexpr size_t kOfPart = 48;  // bytes of a value that is a text, without its characters

constexpr size_t kMostOfASet = 1000;

bool in_set(char32_t c, const Value& set) {
  if (!set.is_string()) {
    return is_space(c) || (c >= 0x1C && c <= 0x1F);
  }
  std::string spelled;
  append_utf8(spelled, c);
  return set.get_ref<const std::string&>().find(spelled) != std::string::npos;
}

Value strip(const Value& value, const Arguments& arguments, bool left, bool right) {
  const std::string& text = need_text(value);
  const Value set = arguments.get(0, "chars", Value());
  if (set.is_string() && set.get_ref<const std::string&>().size() > kMostOfASet) {
    throw std::invalid_argument("expected a few characters to strip");
  }
  size_t begin = text.size();
  size_t end = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t from = at;
    if (!in_set(next_code_point(text, at), set)) {
      begin = std::min(begin, from);
      end = at;
    }
  }
  begin = left ? begin : 0;
  end = right ? end : text.size();
  return begin < end ? text.substr(begin, end - begin) : "";
}

// The first character in upper case, the rest in lower.
std::string capital(const std::string& word) {
  const size_t first = word.empty() ? 0 : utf8_length(word[0]);
  return uppercase(word.substr(0, first)) + lowercase(word.substr(first));
}

}  // namespace

const std::string& need_text(const Value& value) {
  if (!value.is_string()) {
    throw std::invalid_argument("expected a string");
  }
  return value.get_ref<const std::string&>();
}

Builtin stripped(bool left, bool right) {
  return [=](const Value& value, const Arguments& arguments) {
    return strip(value, arguments, left, right);
  };
}

Builtin cased(bool upper) {
  return [upper](const Value& value, const Arguments&) -> Value {
    return upper ? uppercase(need_text(value)) : lowercase(need_text(value));
  };
}

Builtin affix(bool end) {
  return [end](const Value& value, const Arguments& arguments) -> Value {
    const std::string& text = need_text(value);
    const Value sought = arguments.get(0, "prefix", undefined());
    const std::vector<Value> all = sought.is_array() ? elements(sought) : std::vector{sought};
    return std::any_of(all.begin(), all.end(), [&](const Value& one) {
      return end ? text.ends_with(need_text(one)) : text.starts_with(need_text(one));
    });
  };
}

Value capitalized(const Value& value, const Arguments&) {
  return capital(need_text(value));
}

Value titled(const Value& value, const Arguments&) {
  const std::string& text = need_text(value);
  std::string out;
  std::string word;
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    const bool letter = char_class(next_code_point(text, at)) == CharClass::kLetter;
    if (letter) {
      word.append(text, begin, at - begin);
    } else {
      out += capital(std::exchange(word, ""));
      out.append(text, begin, at - begin);
    }
  }
  return out + capital(word);
}

Value replaced(const Value& value, const Arguments& arguments) {
  const std::string& text = need_text(value);
  const std::string from = need_text(arguments.get(0, "old", undefined()));
  const std::string to = need_text(arguments.get(1, "new", undefined()));
  if (from.empty()) {
    throw std::invalid_argument("replace of an empty string is not supported");
  }
  size_t found = 0;
  for (size_t at = text.find(from); at != text.npos; at = text.find(from, at + from.size()))
    arguments.require_room(text.size() + ++found * to.size());
  return replace_all(text, from, to);
}

Value split(const Value& value, const Arguments& arguments) {
  const std::string& text = need_text(value);
  const Value separator = arguments.get(0, "sep", Value());
  const int64_t most = need_integer(arguments.get(1, "maxsplit", -1));
  Value out = Value::array();
  if (!separator.is_string()) {
    std::string word;
    for (size_t at = 0; at <= text.size();) {
      const size_t begin = at;
      const char32_t c = at < text.size() ? next_code_point(text, at) : (++at, U' ');
      if (!is_space(c)) {
        word.append(text, begin, at - begin);
      } else if (!word.empty()) {
        out.push_back(word);
        arguments.require_room(kOfPart * out.size());
        word.clear();
      }
    }
    return out;
  }
  const auto& by = separator.get_ref<const std::string&>();
  if (by.empty()) {
    throw std::invalid_argument("split by an empty string");
  }
  size_t begin = 0;
  for (size_t at = text.find(by); at != text.npos && static_cast<int64_t>(out.size()) != most;
       at = text.find(by, begin)) {
    out.push_back(text.substr(begin, at - begin));
    arguments.require_room(kOfPart * out.size());
    begin = at + by.size();
  }
  out.push_back(text.substr(begin));
  return out;
}

}  // namespace sterna::text::jinja
