#pragma once

#include "trainer/text/jinja_builtins.h"

namespace sterna::text::jinja {

// Functions on text that are filters, methods or both.

/// @throws std::invalid_argument  unless `value` is text
const std::string& need_text(const Value& value);

/// Without white space, or the characters of its first argument, at the ends that are named.
Builtin stripped(bool left, bool right);

/// In upper or lower case.
Builtin cased(bool upper);

/// Whether a text ends, or begins, with one of its arguments.
Builtin affix(bool end);

Value capitalized(const Value& value, const Arguments& arguments);
Value titled(const Value& value, const Arguments& arguments);
Value replaced(const Value& value, const Arguments& arguments);
Value split(const Value& value, const Arguments& arguments);

}  // namespace sterna::text::jinja
