#include "recipes/blame.h"

#include <algorithm>

#include "recipes/parse.h"

namespace sterna::recipes {
namespace {

/// True for a key of the resolved recipe: one in which it differs from a recipe without any.
bool knows(const Recipe& recipe, const std::string& key) {
  const std::vector<Difference> keys = Recipe().diff(recipe);
  return std::any_of(
      keys.begin(), keys.end(), [&](const Difference& each) { return each.key == key; });
}

}  // namespace

void fail_at_its_key(Recipe& recipe, const std::string& message) {
  const size_t end = message.find(": ");
  const std::string key = message.substr(0, end);
  const size_t dot = key.rfind('.');
  if (end == message.npos || dot == key.npos || !knows(recipe, key))
    return;
  recipe.section(key.substr(0, dot)).fail(key.substr(dot + 1), message.substr(end + 2));
}

void ignore_other_tables(Recipe& recipe, std::initializer_list<std::string_view> own) {
  const Section root = recipe.root();
  for (const std::string& table : root.keys()) {
    const bool owned = std::find(own.begin(), own.end(), table) != own.end();
    if (!owned && root.where(table) != kCommandLine)
      recipe.ignore(table);
  }
}

}  // namespace sterna::recipes
