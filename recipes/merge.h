#pragma once

#include "recipes/value.h"

namespace sterna::recipes {

/// Puts `over` on top of `under`: tables merge key by key, anything else replaces.
///
/// Two rules of recipes besides. A table that selects another component (another `name`) replaces
/// the old one, whose fields mean nothing to it. Lists of tables called `rule` are first-match
/// lists: the entries of `over` come before those of `under`.
void merge_over(Value& under, const Value& over);

/// Makes a table of a component's shorthand: "twn" becomes { name = "twn" }.
void expand_shorthand(Value& value);

}  // namespace sterna::recipes
