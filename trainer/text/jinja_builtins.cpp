// Filters, tests and methods that chat templates use, with Jinja's and Python's meaning.
#include "trainer/text/jinja_builtins.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "trainer/text/unicode.h"
#include "trainer/text/utf8.h"

namespace sterna::text::jinja {
namespace {

using Table = std::map<std::string, Builtin, std::less<>>;

const std::string& need_text(const Value& value) {
  if (!value.is_string()) {
    throw std::invalid_argument("expected a string");
  }
  return value.get_ref<const std::string&>();
}

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
  std::string out;
  size_t done = 0;
  for (size_t at = text.find(from); at != text.npos; at = text.find(from, done)) {
    out.append(text, done, at - done).append(to);
    done = at + from.size();
  }
  return out.append(text, done);
}

Value split(const Value& value, const Arguments& arguments) {
  const std::string& text = need_text(value);
  const Value separator = arguments.get(0, "sep", Value());
  const auto most = arguments.get(1, "maxsplit", -1).get<int64_t>();
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
    begin = at + by.size();
  }
  out.push_back(text.substr(begin));
  return out;
}

Value length(const Value& value, const Arguments&) {
  return static_cast<int64_t>(elements(value).size());
}

Value join(const Value& value, const Arguments& arguments) {
  const std::string by = to_text(arguments.get(0, "d", ""));
  std::string out;
  bool first = true;
  for (const Value& one : elements(value)) {
    out += (first ? "" : by) + to_text(one);
    first = false;
  }
  return out;
}

Value edge(const Value& value, bool last) {
  const std::vector<Value> all = elements(value);
  return all.empty() ? undefined() : last ? all.back() : all.front();
}

Value list(const Value& value, const Arguments&) {
  Value out = Value::array();
  for (Value& one : elements(value)) {
    out.push_back(std::move(one));
  }
  return out;
}

Value reversed(const Value& value, const Arguments&) {
  return slice(value, Value(), Value(), -1);
}

Value items(const Value& value, const Arguments&) {
  if (!value.is_object()) {
    throw std::invalid_argument("expected a mapping");
  }
  Value out = Value::array();
  for (const auto& [key, one] : value.items()) {
    out.push_back(Value::array({key, one}));
  }
  return out;
}

Value values(const Value& value, const Arguments& arguments) {
  Value out = Value::array();
  for (const Value& pair : items(value, arguments)) {
    out.push_back(pair[1]);
  }
  return out;
}

Value fallback(const Value& value, const Arguments& arguments) {
  const bool wanted =
      value.is_discarded() || (truthy(arguments.get(1, "boolean", false)) && !truthy(value));
  return wanted ? arguments.get(0, "default_value", "") : value;
}

Value integer(const Value& value, const Arguments& arguments) {
  if (value.is_number()) {
    return static_cast<int64_t>(value.get<double>());
  }
  try {
    return static_cast<int64_t>(std::stoll(need_text(value)));
  } catch (const std::exception&) {
    return arguments.get(0, "default", 0);
  }
}

Value json_text(const Value& value, const Arguments& arguments) {
  const Value indent = arguments.get(0, "indent", Value());
  return to_json(value, indent.is_number_integer() ? std::clamp(indent.get<int>(), 0, 16) : -1);
}

// selectattr("role", "equalto", "user"); without a test the attribute counts as it is.
Value select(const Value& value, const Arguments& arguments, bool wanted) {
  const Value attribute = arguments.get(0, "attr", undefined());
  const Value name = arguments.get(1, "test", Value());
  const Builtin* test = name.is_string() ? find_test(name.get_ref<const std::string&>()) : nullptr;
  if (name.is_string() && test == nullptr) {
    throw std::invalid_argument("the test '" + name.get<std::string>() + "' is not supported");
  }
  Arguments rest;
  if (arguments.values.size() > 2) {
    rest.values.assign(arguments.values.begin() + 2, arguments.values.end());
  }
  Value out = Value::array();
  for (Value& one : elements(value)) {
    const Value field = item(one, attribute);
    if (truthy(test == nullptr ? field : (*test)(field, rest)) == wanted) {
      out.push_back(std::move(one));
    }
  }
  return out;
}

Value mapped(const Value& value, const Arguments& arguments) {
  Value out = Value::array();
  const Value attribute = arguments.get(99, "attribute", Value());
  const Value name = arguments.get(0, "filter", Value());
  const Builtin* filter =
      name.is_string() ? find_filter(name.get_ref<const std::string&>()) : nullptr;
  if (attribute.is_null() && filter == nullptr) {
    throw std::invalid_argument("map needs a filter that is supported, or attribute=");
  }
  for (const Value& one : elements(value)) {
    out.push_back(filter != nullptr ? (*filter)(one, {}) : item(one, attribute));
  }
  return out;
}

Builtin with(Value (*function)(const Value&, const Arguments&, bool, bool), bool a, bool b) {
  return [=](const Value& value, const Arguments& arguments) {
    return function(value, arguments, a, b);
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

Builtin when(bool (*predicate)(const Value&)) {
  return [predicate](const Value& value, const Arguments&) -> Value { return predicate(value); };
}

Builtin equal_to(bool wanted) {
  return [wanted](const Value& value, const Arguments& arguments) -> Value {
    return equal(value, arguments.get(0, "other", undefined())) == wanted;
  };
}

const Table& filters() {
  static const Table kFilters{
      {"trim", with(strip, true, true)},
      {"upper", cased(true)},
      {"lower", cased(false)},
      {"capitalize", capitalized},
      {"title", titled},
      {"replace", replaced},
      {"length", length},
      {"count", length},
      {"join", join},
      {"first", [](const Value& value, const Arguments&) { return edge(value, false); }},
      {"last", [](const Value& value, const Arguments&) { return edge(value, true); }},
      {"list", list},
      {"reverse", reversed},
      {"items", items},
      {"default", fallback},
      {"d", fallback},
      {"string", [](const Value& value, const Arguments&) -> Value { return to_text(value); }},
      {"safe", [](const Value& value, const Arguments&) { return value; }},
      {"int", integer},
      {"tojson", json_text},
      {"map", mapped},
      {"selectattr",
       [](const Value& value, const Arguments& rest) { return select(value, rest, true); }},
      {"rejectattr",
       [](const Value& value, const Arguments& rest) { return select(value, rest, false); }},
  };
  return kFilters;
}

const Table& tests() {
  static const Table kTests{
      {"defined", when([](const Value& v) { return !v.is_discarded(); })},
      {"undefined", when([](const Value& v) { return v.is_discarded(); })},
      {"none", when([](const Value& v) { return v.is_null(); })},
      {"string", when([](const Value& v) { return v.is_string(); })},
      {"mapping", when([](const Value& v) { return v.is_object(); })},
      {"sequence",
       when([](const Value& v) { return v.is_array() || v.is_string() || v.is_object(); })},
      {"iterable",
       when([](const Value& v) { return v.is_array() || v.is_string() || v.is_object(); })},
      {"number", when([](const Value& v) { return v.is_number() || v.is_boolean(); })},
      {"integer", when([](const Value& v) { return v.is_number_integer(); })},
      {"float", when([](const Value& v) { return v.is_number_float(); })},
      {"boolean", when([](const Value& v) { return v.is_boolean(); })},
      {"true", when([](const Value& v) { return v.is_boolean() && v.get<bool>(); })},
      {"false", when([](const Value& v) { return v.is_boolean() && !v.get<bool>(); })},
      {"odd", when([](const Value& v) { return v.get<int64_t>() % 2 != 0; })},
      {"even", when([](const Value& v) { return v.get<int64_t>() % 2 == 0; })},
      {"equalto", equal_to(true)},
      {"eq", equal_to(true)},
      {"ne", equal_to(false)},
      {"in",
       [](const Value& value, const Arguments& arguments) -> Value {
         return contains(arguments.get(0, "seq", undefined()), value);
       }},
  };
  return kTests;
}

const Table& methods() {
  static const Table kMethods{
      {"strip", with(strip, true, true)},
      {"lstrip", with(strip, true, false)},
      {"rstrip", with(strip, false, true)},
      {"upper", cased(true)},
      {"lower", cased(false)},
      {"capitalize", capitalized},
      {"title", titled},
      {"replace", replaced},
      {"split", split},
      {"startswith", affix(false)},
      {"endswith", affix(true)},
      {"items", items},
      {"keys", list},
      {"values", values},
      {"get",
       [](const Value& value, const Arguments& arguments) {
         const Value found = item(value, arguments.get(0, "key", undefined()));
         return found.is_discarded() ? arguments.get(1, "default", Value()) : found;
       }},
  };
  return kMethods;
}

const Builtin* find(const Table& table, std::string_view name) {
  const auto found = table.find(name);
  return found == table.end() ? nullptr : &found->second;
}

}  // namespace

Value Arguments::get(size_t place, const std::string& name, Value fallback_value) const {
  if (place < values.size()) {
    return values[place];
  }
  const auto found = named.find(name);
  return found == named.end() ? std::move(fallback_value) : found->second;
}

const Builtin* find_filter(std::string_view name) {
  return find(filters(), name);
}

const Builtin* find_test(std::string_view name) {
  return find(tests(), name);
}

const Builtin* find_method(std::string_view name) {
  return find(methods(), name);
}

}  // namespace sterna::text::jinja
