#include "recipes/paths.h"

#include <cstdlib>
#include <optional>

#include <gtest/gtest.h>

#include "tests/recipes/widgets.h"

namespace sterna::recipes::tests {
namespace {

/// Sets or removes a variable for one test.
class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) {
    if (const char* old = std::getenv(name))
      old_ = old;
    set(value);
  }
  ~Variable() { set(old_ ? old_->c_str() : nullptr); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  void set(const char* value) {
    if (value != nullptr)
      setenv(name_, value, 1);
    else
      unsetenv(name_);
  }
  const char* name_;
  std::optional<std::string> old_;
};

TEST(Paths, TheCacheFolderFollowsItsVariablesInOrder) {
  const Variable home("HOME", "/h");
  const Variable own("STERNA_CACHE", nullptr);
  {
    const Variable xdg("XDG_CACHE_HOME", nullptr);
    EXPECT_EQ(cache_dir(), "/h/.cache/sterna");
  }
  const Variable xdg("XDG_CACHE_HOME", "/x");
  EXPECT_EQ(cache_dir(), "/x/sterna");
  const Variable given("STERNA_CACHE", "/c");
  EXPECT_EQ(cache_dir(), "/c");
}

TEST(Paths, OnlyALeadingNameIsExpanded) {
  const Variable home("HOME", "/h");
  const Variable cache("STERNA_CACHE", "/c");
  const Variable data("STERNA_DATA", "/d");
  EXPECT_EQ(expand_path("~"), "/h");
  EXPECT_EQ(expand_path("~/m/x"), "/h/m/x");
  EXPECT_EQ(expand_path("$STERNA_CACHE/models"), "/c/models");
  EXPECT_EQ(expand_path("$STERNA_DATA"), "/d");
  for (const char* plain : {"", "~user/x", "a/~", "$STERNA_CACHED/x", "/abs", "rel/$STERNA_DATA"})
    EXPECT_EQ(expand_path(plain), plain);
}

TEST(Paths, AVariableThatIsNotSetIsNamedAtTheKey) {
  const Variable data("STERNA_DATA", nullptr);
  Recipe recipe = Recipe::parse("[data]\ntext = '$STERNA_DATA/x'\n", "r.toml");
  std::filesystem::path text;
  const std::string error = error_of([&] { recipe.section("data")("text", text, ""); });
  EXPECT_EQ(error.find("r.toml:2:1: 'data.text': '$STERNA_DATA/x': the variable STERNA_DATA is not "
                       "set"),
            0u)
      << error;
}

TEST(Paths, TheWrittenRecipeKeepsThePathAsGiven) {
  const Variable cache("STERNA_CACHE", "/c");
  Recipe recipe = Recipe::parse("path = '$STERNA_CACHE/m'\n", "r.toml");
  std::filesystem::path path;
  recipe.root()("path", path, "");
  EXPECT_EQ(path, "/c/m");
  EXPECT_EQ(written(recipe), "path = \"$STERNA_CACHE/m\"\n");
}

}  // namespace
}  // namespace sterna::recipes::tests
