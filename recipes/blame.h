#pragma once

#include <string>

#include "recipes/recipe.h"

namespace sterna::recipes {

/// Runs `action`, which works with the value of `name`: its UserError becomes a RecipeError of that
/// key, with file, line and column. An error that names its place, or another key of the section,
/// stays as it is.
template <class Action>
auto blame_on(const Section& section, std::string_view name, const Action& action) {
  try {
    return action();
  } catch (const RecipeError&) {
    throw;
  } catch (const UserError& error) {
    std::string why = error.what();
    const std::string said = section.key(name) + ": ";
    if (why.starts_with(said))
      why.erase(0, said.size());
    else if (why.starts_with(section.key() + "."))
      throw;
    section.fail(name, why);
  }
}

}  // namespace sterna::recipes
