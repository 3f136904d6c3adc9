#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/text/jinja_ast.h"

namespace sterna::text::jinja {

/// Arguments behind the value that a filter, test or method works on.
struct Arguments {
  std::vector<Value> values;
  std::map<std::string, Value> named;
  size_t most = SIZE_MAX;  ///< bytes that the result may take, roughly

  /// @throws std::invalid_argument  where a result would become larger
  void require_room(size_t bytes) const;

  /// The argument at `place` or called `name`; `fallback` where neither is given.
  Value get(size_t place, const std::string& name, Value fallback) const;
};

/// Throws std::invalid_argument with a reason; the interpreter adds the place.
using Builtin = std::function<Value(const Value& value, const Arguments& arguments)>;

/// Null where there is no such filter (test, method).
const Builtin* find_filter(std::string_view name);
const Builtin* find_test(std::string_view name);
const Builtin* find_method(std::string_view name);

/// Python's rules.
bool truthy(const Value& value);
std::string to_text(const Value& value);
bool equal(const Value& a, const Value& b);
bool contains(const Value& whole, const Value& part);
/// `object.name` or `object[key]`; undefined where absent.
Value item(const Value& object, const Value& key);
Value slice(const Value& whole, const Value& begin, const Value& end, const Value& step);
/// As json.dumps(ensure_ascii=False, indent=...); a negative indent is none.
std::string to_json(const Value& value, int indent, const Arguments& room, int depth = 0);
/// @throws std::invalid_argument  unless it is one
int64_t need_integer(const Value& value);
/// What a `for` runs over: elements, keys or characters, of which there are 10,000 at most.
std::vector<Value> elements(const Value& value);

}  // namespace sterna::text::jinja
