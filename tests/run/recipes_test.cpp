// Every recipe of the repository is one that the program understands.

#include <cstdlib>
#include <filesystem>

#include <gtest/gtest.h>

#include "tests/support/data.h"
#include "tests/support/paths.h"
#include "trainer/run/session.h"

namespace sterna::run {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> recipes_of_the_repository() {
  std::vector<fs::path> found;
  for (const auto& entry : fs::recursive_directory_iterator(tests::source_dir() / "recipes")) {
    const bool part = entry.path().parent_path().filename() == "parts";
    if (entry.path().extension() == ".toml" && !part)
      found.push_back(entry.path());
  }
  return found;
}

TEST(Recipes, NoneHasAKeyThatNobodyReads) {
  // Nothing is opened, but paths that begin with the variable need a value.
  setenv("STERNA_DATA", tests::data_dir().c_str(), /*overwrite=*/0);
  const std::vector<fs::path> all = recipes_of_the_repository();
  EXPECT_GE(all.size(), 6u);
  for (const fs::path& path : all) {
    recipes::Recipe recipe = recipes::Recipe::load(path);
    if (!recipe.section("model").has("path"))
      recipe.set("model.path=given-on-the-command-line");
    EXPECT_NO_THROW({
      read_all_sections(recipe);
      recipe.reject_unknown();
    }) << path;
  }
}

}  // namespace
}  // namespace sterna::run
