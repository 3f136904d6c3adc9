// Tests that chat templates use ("is defined", "is string"), with Jinja's meaning.
#include "trainer/text/jinja_builtins.h"

namespace sterna::text::jinja {
namespace {

Builtin when(bool (*predicate)(const Value&)) {
  return [predicate](const Value& value, const Arguments&) -> Value { return predicate(value); };
}

Builtin equal_to(bool wanted) {
  return [wanted](const Value& value, const Arguments& arguments) -> Value {
    return equal(value, arguments.get(0, "other", undefined())) == wanted;
  };
}

const std::map<std::string, Builtin, std::less<>>& tests() {
  static const std::map<std::string, Builtin, std::less<>> kTests{
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
      {"odd", when([](const Value& v) { return need_integer(v) % 2 != 0; })},
      {"even", when([](const Value& v) { return need_integer(v) % 2 == 0; })},
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

}  // namespace

const Builtin* find_test(std::string_view name) {
  const auto found = tests().find(name);
  return found == tests().end() ? nullptr : &found->second;
}

}  // namespace sterna::text::jinja
