#pragma once

#include <string>

#include "trainer/text/jinja_builtins.h"

namespace sterna::text::jinja {

/// `left sign right` for every operator that evaluates both sides.
/// @throws std::invalid_argument  where the types do not fit
Value operate(const std::string& sign, const Value& left, const Value& right);

/// range(stop), range(start, stop), range(start, stop, step).
Value range(const Arguments& given);

}  // namespace sterna::text::jinja
