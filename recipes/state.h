#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>

#include "recipes/value.h"

namespace sterna::recipes {

/// What a recipe and its sections share; on the heap, so that a recipe may move.
struct RecipeState {
  std::string origin;
  Value written;                                  ///< as written, includes and overrides merged
  Value resolved;                                 ///< as used, defaults included
  std::set<std::string, std::less<>> touched;     ///< tables that somebody opened
  std::set<std::string, std::less<>> ignored;     ///< top-level tables
  std::map<std::string, std::string> other_keys;  ///< key -> component not selected
};

/// "quant" + "weight" = "quant.weight"
std::string join_key(std::string_view table, std::string_view name);

/// Every scalar, list of scalars and empty table below `value`, by its full key.
std::map<std::string, std::string> flat(const Value& value);

/// "expected a table, found 3; ...", for a key that has keys of its own.
std::string expected_table(const Value& found);

/// One line for each written key that nobody asked for, or "".
std::string unknown_keys(const RecipeState& state);

}  // namespace sterna::recipes
