// Filters and methods that chat templates use, with Jinja's and Python's meaning; those on text are
// in jinja_strings.cpp, tests in jinja_tests.cpp.
#include "trainer/text/jinja_builtins.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "trainer/text/jinja_strings.h"
#include "trainer/text/utf8.h"

namespace sterna::text::jinja {
namespace {

using Table = std::map<std::string, Builtin, std::less<>>;

Value length(const Value& value, const Arguments&) {
  if (value.is_structured())
    return static_cast<int64_t>(value.size());
  const std::string& text = need_text(value);
  int64_t count = 0;
  for (size_t at = 0; at < text.size(); ++count)
    next_code_point(text, at);
  return count;
}

Value join(const Value& value, const Arguments& arguments) {
  const std::string by = to_text(arguments.get(0, "d", ""));
  std::string out;
  bool first = true;
  for (const Value& one : elements(value)) {
    out += (first ? "" : by) + to_text(one);
    arguments.require_room(out.size());
    first = false;
  }
  return out;
}

Value edge(const Value& value, bool last) {
  if (value.is_string() || value.is_array())
    return item(value, last ? -1 : 0);
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
  if (value.is_number_integer()) {
    return value;
  }
  if (value.is_number()) {
    const double number = value.get<double>();
    constexpr double kEnd = 9223372036854775808.0;  // 2^63
    if (!(number > -kEnd && number < kEnd))
      throw std::invalid_argument("the number does not fit an integer");
    return static_cast<int64_t>(number);
  }
  try {
    return static_cast<int64_t>(std::stoll(need_text(value)));
  } catch (const std::exception&) {
    return arguments.get(0, "default", 0);
  }
}

Value json_text(const Value& value, const Arguments& arguments) {
  const Value indent = arguments.get(0, "indent", Value());
  const int64_t spaces =
      indent.is_number_integer() ? std::clamp<int64_t>(need_integer(indent), 0, 16) : -1;
  return to_json(value, static_cast<int>(spaces), arguments);
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
  Arguments rest;
  rest.most = arguments.most;
  for (const Value& one : elements(value)) {
    out.push_back(filter != nullptr ? (*filter)(one, rest) : item(one, attribute));
  }
  return out;
}

const Table& filters() {
  static const Table kFilters{
      {"trim", stripped(true, true)},
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

const Table& methods() {
  static const Table kMethods{
      {"strip", stripped(true, true)},
      {"lstrip", stripped(true, false)},
      {"rstrip", stripped(false, true)},
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

void Arguments::require_room(size_t bytes) const {
  if (bytes > most)
    throw std::invalid_argument("the result is too large for a chat");
}

const Builtin* find_filter(std::string_view name) {
  return find(filters(), name);
}

const Builtin* find_method(std::string_view name) {
  return find(methods(), name);
}

}  // namespace sterna::text::jinja
