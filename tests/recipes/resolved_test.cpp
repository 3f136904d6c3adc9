#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "tests/recipes/widgets.h"

namespace sterna::recipes::tests {
namespace {

/// One field of every type, with texts that are awkward to write.
struct Everything {
  bool flag = true;
  int64_t count = -9007199254740993;
  double rate = 1e-5;
  double whole = 3;
  double limit = std::numeric_limits<double>::infinity();
  std::string text = "quote \" backslash \\ tab \t line \n bell \a rub \x7f ünï";
  std::string empty;
  std::filesystem::path path = "~/models";
  std::vector<int64_t> integers{1, 2};
  std::vector<double> numbers{0.1, 1};
  std::vector<std::string> texts{"a, b", "]"};
  std::vector<std::filesystem::path> paths{"x y"};
  std::vector<std::string> none;
  template <class V>
  void fields(V& v) {
    v("flag", flag, "");
    v("count", count, "");
    v("rate", rate, "");
    v("whole", whole, "");
    v("limit", limit, "");
    v("text", text, "");
    v("empty", empty, "");
    v("path", path, "");
    v("integers", integers, "");
    v("numbers", numbers, "", Range{0, 1});
    v("texts", texts, "");
    v("paths", paths, "");
    v("none", none, "");
  }
};

/// Reads all that the tests' recipes hold, and gives what was built.
Everything read_all(Recipe& recipe) {
  int64_t top = 4;
  recipe.root()("top level key", top, "");
  widgets().build(recipe.section("part"), "kind", "gear");
  for (Section rule : recipe.section("part").tables("rule"))
    widgets().build(rule, "kind");
  return recipe.section("all").read<Everything>();
}

TEST(Resolved, TheWrittenRecipeReadsBackToTheSameText) {
  Recipe first = Recipe::parse(
      "[part]\nkind = { name = 'gear', pitch = 0.1 }\n"
      "[[part.rule]]\nkind = 'peg'\n[[part.rule]]\nkind = { name = 'spring' }\n",
      "r.toml");
  read_all(first);
  const std::string text = written(first);
  Recipe second = Recipe::parse(text, "written.toml");
  const Everything read = read_all(second);
  EXPECT_EQ(error_of([&] { second.reject_unknown(); }), "") << text;
  EXPECT_EQ(written(second), text);
  const Everything original;
  EXPECT_EQ(read.text, original.text);
  EXPECT_EQ(read.count, original.count);
  EXPECT_EQ(read.rate, original.rate);
  EXPECT_EQ(read.limit, original.limit);
  EXPECT_EQ(read.texts, original.texts);
  EXPECT_EQ(first.hash(), second.hash());
  EXPECT_TRUE(first.diff(second).empty());
}

TEST(Resolved, DefaultsAreWrittenInTheOrderOfTheFields) {
  Recipe recipe = Recipe::parse("[part]\nkind = 'gear'\n", "r.toml");
  widgets().build(recipe.section("part"), "kind");
  EXPECT_EQ(written(recipe),
            "[part]\nkind = { name = \"gear\", teeth = 12, pitch = 1.5, metal = \"steel\" }\n");
}

TEST(Resolved, DiffNamesChangedAddedAndRemovedKeys) {
  const auto read = [](const std::string& text) {
    Recipe recipe = Recipe::parse(text, "r.toml");
    widgets().build(recipe.section("part"), "kind");
    return recipe;
  };
  const Recipe before = read("[part]\nkind = { name = 'gear', teeth = 20, metal = 'brass' }\n");
  const Recipe changed = read("[part]\nkind = { teeth = 21, name = 'gear', metal = 'brass' }\n");
  const auto one = before.diff(changed);
  ASSERT_EQ(one.size(), 1u);
  EXPECT_EQ(one[0].key, "part.kind.teeth");
  EXPECT_EQ(one[0].before, "20");
  EXPECT_EQ(one[0].after, "21");
  EXPECT_NE(before.hash(), changed.hash());
  std::string keys;
  for (const Difference& d : before.diff(read("[part]\nkind = 'spring'\n")))
    keys += d.key + ":" + d.before + ">" + d.after + " ";
  EXPECT_EQ(keys,
            "part.kind.metal:\"brass\"> part.kind.name:\"gear\">\"spring\" part.kind.pitch:1.5> "
            "part.kind.stiffness:>1.0 part.kind.teeth:20> ");
}

TEST(Resolved, HashIgnoresTheOrderOfKeys) {
  Recipe a = Recipe::parse("", "a");
  Recipe b = Recipe::parse("", "b");
  int64_t x = 1, y = 2;
  a.root()("x", x, "");
  a.root()("y", y, "");
  b.root()("y", y, "");
  b.root()("x", x, "");
  EXPECT_NE(written(a), written(b));
  EXPECT_EQ(a.hash(), b.hash());
  EXPECT_EQ(a.hash().size(), 16u);
}

TEST(Resolved, AMovedRecipeKeepsItsSections) {
  Recipe recipe = Recipe::parse("[part]\nkind = 'peg'\n", "r.toml");
  Section part = recipe.section("part");
  const Recipe moved = std::move(recipe);
  EXPECT_EQ(part.choose("kind"), "peg");
  EXPECT_EQ(written(moved), "[part]\nkind = { name = \"peg\" }\n");
}

}  // namespace
}  // namespace sterna::recipes::tests
