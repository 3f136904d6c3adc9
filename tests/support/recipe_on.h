#pragma once

#include <filesystem>
#include <string>

#include "recipes/recipe.h"

namespace sterna::tests {

/// A recipe for what a folder has: "model", "text.txt", and room for "tokens".
inline recipes::Recipe recipe_on(const std::filesystem::path& folder, const std::string& text) {
  recipes::Recipe recipe = recipes::Recipe::parse(text, "test");
  recipe.set("model.path=" + (folder / "model").string());
  recipe.set("data.text=" + (folder / "text.txt").string());
  recipe.set("data.cache=" + (folder / "tokens").string());
  return recipe;
}

}  // namespace sterna::tests
