#pragma once

#include <initializer_list>
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

/// Throws the RecipeError of a message that begins with a key of the resolved recipe
/// ("train.seq_len: ..."); returns where it begins otherwise.
void fail_at_its_key(Recipe& recipe, const std::string& message);

/// Runs `action`: a UserError that begins with a key of the recipe becomes a RecipeError of that
/// key, with file, line and column. Any other error stays as it is.
template <class Action>
auto at_its_key(Recipe& recipe, const Action& action) {
  try {
    return action();
  } catch (const RecipeError&) {
    throw;
  } catch (const UserError& error) {
    fail_at_its_key(recipe, error.what());
    throw;
  }
}

/// Declares the tables that files brought into this recipe somebody else's business, all but `own`:
/// a verb may be given a training recipe. A table that was typed for this call stays a mistake.
void ignore_other_tables(Recipe& recipe, std::initializer_list<std::string_view> own);

}  // namespace sterna::recipes
