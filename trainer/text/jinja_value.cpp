// Values of templates by Python's rules, as far as chat templates use them.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <stdexcept>

#include "trainer/text/jinja_builtins.h"
#include "trainer/text/utf8.h"

namespace sterna::text::jinja {
namespace {

constexpr size_t kMostCharacters = 10000;  // each a value of its own

std::vector<std::string> characters(const std::string& text) {
  std::vector<std::string> out;
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    next_code_point(text, at);
    out.push_back(text.substr(begin, at - begin));
    if (out.size() > kMostCharacters)
      throw std::invalid_argument("the text is too long to be taken apart");
  }
  return out;
}

/// Where each character begins, and the end.
std::vector<size_t> bounds_of(const std::string& text) {
  std::vector<size_t> bounds = {0};
  for (size_t at = 0; at < text.size();) {
    next_code_point(text, at);
    bounds.push_back(at);
  }
  return bounds;
}

std::string real_text(double value) {
  char text[40];
  for (int digits = 1; digits <= 17; ++digits) {  // the shortest that reads back, as Python's repr
    std::snprintf(text, sizeof text, "%.*g", digits, value);
    if (std::strtod(text, nullptr) == value) {
      break;
    }
  }
  const std::string out = text;
  return out.find_first_of(".en") == out.npos ? out + ".0" : out;
}

std::string line_break(int indent, int depth) {
  return indent < 0 ? "" : "\n" + std::string(static_cast<size_t>(indent * depth), ' ');
}

}  // namespace

bool truthy(const Value& value) {
  switch (value.type()) {
    case Value::value_t::null:
    case Value::value_t::discarded:
      return false;
    case Value::value_t::boolean:
      return value.get<bool>();
    case Value::value_t::string:
      return !value.get_ref<const std::string&>().empty();
    case Value::value_t::array:
    case Value::value_t::object:
      return !value.empty();
    default:
      return value.get<double>() != 0;
  }
}

std::string to_text(const Value& value) {
  switch (value.type()) {
    case Value::value_t::null:
      return "None";
    case Value::value_t::discarded:
      return "";
    case Value::value_t::boolean:
      return value.get<bool>() ? "True" : "False";
    case Value::value_t::string:
      return value.get<std::string>();
    case Value::value_t::number_float:
      return real_text(value.get<double>());
    case Value::value_t::array:
    case Value::value_t::object:
      throw std::invalid_argument("printing a list or a mapping is not supported (use tojson)");
    default:
      return value.dump();
  }
}

bool equal(const Value& a, const Value& b) {
  if (a.is_discarded() || b.is_discarded()) {
    return a.is_discarded() && b.is_discarded();
  }
  const auto as_number = [](const Value& v) {
    return v.is_boolean() ? Value(v.get<bool>() ? 1 : 0) : v;
  };
  return as_number(a) == as_number(b);
}

bool contains(const Value& whole, const Value& part) {
  if (whole.is_string()) {
    if (!part.is_string()) {
      throw std::invalid_argument("only a string can be in a string");
    }
    return whole.get_ref<const std::string&>().find(part.get_ref<const std::string&>()) !=
           std::string::npos;
  }
  if (whole.is_object()) {
    return part.is_string() && whole.contains(part.get<std::string>());
  }
  if (whole.is_array()) {
    return std::any_of(
        whole.begin(), whole.end(), [&](const Value& one) { return equal(one, part); });
  }
  throw std::invalid_argument("'in' needs a string, a list or a mapping");
}

Value item(const Value& object, const Value& key) {
  if (object.is_discarded()) {
    throw std::invalid_argument("a value that is undefined has no fields");
  }
  if (object.is_object()) {
    const auto found = key.is_string() ? object.find(key.get<std::string>()) : object.end();
    return found == object.end() ? undefined() : *found;
  }
  if (!key.is_number_integer() || !(object.is_array() || object.is_string())) {
    return undefined();
  }
  const std::vector<size_t> bounds =
      object.is_string() ? bounds_of(object.get_ref<const std::string&>()) : std::vector<size_t>();
  const int64_t size = object.is_string() ? std::ssize(bounds) - 1 : std::ssize(object);
  const auto given = key.get<int64_t>();
  const int64_t index = given < 0 ? given + size : given;
  if (index < 0 || index >= size) {
    return undefined();
  }
  const auto at = static_cast<size_t>(index);
  return object.is_array() ? object[at]
                           : Value(object.get_ref<const std::string&>().substr(
                                 bounds[at], bounds[at + 1] - bounds[at]));
}

Value slice(const Value& whole, const Value& begin, const Value& end, const Value& step) {
  if (!whole.is_array() && !whole.is_string()) {
    throw std::invalid_argument("only a list or a string has slices");
  }
  const std::vector<size_t> bounds =
      whole.is_string() ? bounds_of(whole.get_ref<const std::string&>()) : std::vector<size_t>();
  const int64_t size = whole.is_string() ? std::ssize(bounds) - 1 : std::ssize(whole);
  const int64_t stride = step.is_number_integer() ? step.get<int64_t>() : 1;
  if (stride == 0) {
    throw std::invalid_argument("the step of a slice is 0");
  }
  const int64_t low = stride > 0 ? 0 : -1;
  const int64_t high = stride > 0 ? size : size - 1;
  const auto bound = [&](const Value& given, int64_t fallback) {
    if (!given.is_number_integer()) {
      return fallback;
    }
    const auto at = given.get<int64_t>();
    return std::clamp(at < 0 ? at + size : at, low, high);
  };
  const int64_t from = bound(begin, stride > 0 ? low : high);
  const int64_t to = bound(end, stride > 0 ? high : low);
  Value list = Value::array();
  std::string text;
  bool more = true;
  for (int64_t i = from; more && (stride > 0 ? i < to : i > to);) {
    const auto at = static_cast<size_t>(i);
    if (whole.is_string()) {
      text.append(whole.get_ref<const std::string&>(), bounds[at], bounds[at + 1] - bounds[at]);
    } else {
      list.push_back(whole[at]);
    }
    more = !__builtin_add_overflow(i, stride, &i);
  }
  return whole.is_string() ? Value(text) : list;
}

int64_t need_integer(const Value& value) {
  if (!value.is_number_integer()) {
    throw std::invalid_argument("expected an integer");
  }
  return value.get<int64_t>();
}

std::string to_json(const Value& value, int indent, const Arguments& room, int depth) {
  if (value.is_number_float()) {
    return real_text(value.get<double>());
  }
  if (!value.is_structured()) {
    if (value.is_discarded()) {
      throw std::invalid_argument("an undefined value has no JSON");
    }
    return value.dump();
  }
  if (value.empty()) {
    return value.is_array() ? "[]" : "{}";
  }
  std::string out;
  for (const auto& [key, one] : value.items()) {
    out += out.empty() ? "" : indent < 0 ? ", " : ",";
    out += line_break(indent, depth + 1);
    out += value.is_object() ? Value(key).dump() + ": " : "";
    out += to_json(one, indent, room, depth + 1);
    room.require_room(out.size());
  }
  out += line_break(indent, depth);
  return value.is_array() ? "[" + out + "]" : "{" + out + "}";
}

std::vector<Value> elements(const Value& value) {
  std::vector<Value> out;
  if (value.is_string()) {
    for (std::string& one : characters(value.get_ref<const std::string&>())) {
      out.emplace_back(std::move(one));
    }
  } else if (value.is_object()) {
    for (const auto& [key, one] : value.items()) {
      out.emplace_back(key);
    }
  } else if (value.is_array()) {
    out.assign(value.begin(), value.end());
  } else {
    throw std::invalid_argument("the value is no list, mapping or string");
  }
  return out;
}

}  // namespace sterna::text::jinja
