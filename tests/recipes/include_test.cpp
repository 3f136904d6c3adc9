#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "tests/recipes/widgets.h"
#include "tests/support/temp_folder.h"

namespace sterna::recipes::tests {
namespace {

namespace fs = std::filesystem;

/// A folder of recipes that disappears with the test.
class Include : public testing::Test {
 protected:
  Include() { fs::create_directories(folder_ / "parts"); }

  void write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name) << text;
  }
  Recipe load(const std::string& name) const { return Recipe::load(folder_ / name); }
  std::string at(const std::string& name) const { return (folder_ / name).string(); }

  static int64_t number(Recipe& recipe, const std::string& section, const std::string& name) {
    int64_t value = -1;
    recipe.section(section)(name, value, "");
    return value;
  }

  sterna::tests::TempFolder folder_;
};

TEST_F(Include, TheIncludingFileWinsAndALaterIncludeBeatsAnEarlier) {
  write("parts/one.toml", "[s]\na = 1\nb = 1\nc = 1\n");
  write("parts/two.toml", "[s]\nb = 2\nc = 2\n");
  write("main.toml", "include = ['parts/one.toml', 'parts/two.toml']\n[s]\nc = 3\n");
  Recipe recipe = load("main.toml");
  EXPECT_EQ(number(recipe, "s", "a"), 1);
  EXPECT_EQ(number(recipe, "s", "b"), 2);
  EXPECT_EQ(number(recipe, "s", "c"), 3);
  EXPECT_EQ(error_of([&] { recipe.reject_unknown(); }), "");
}

TEST_F(Include, PathsAreRelativeToTheFileThatSaysSo) {
  write("parts/inner.toml", "[s]\na = 5\n");
  write("parts/outer.toml", "include = 'inner.toml'\n");
  write("main.toml", "include = 'parts/outer.toml'\n");
  Recipe recipe = load("main.toml");
  EXPECT_EQ(number(recipe, "s", "a"), 5);
}

TEST_F(Include, ErrorsNameTheIncludedFile) {
  write("parts/one.toml", "\n[s]\na = 'x'\ntypo = 1\n");
  write("main.toml", "include = ['parts/one.toml']\n[s]\nb = 2\n");
  Recipe recipe = load("main.toml");
  EXPECT_EQ(number(recipe, "s", "b"), 2);
  EXPECT_EQ(error_of([&] { number(recipe, "s", "a"); }),
            at("parts/one.toml") + ":3:1: 's.a': expected an integer, found \"x\"");
  EXPECT_NE(error_of([&] {
              recipe.reject_unknown();
            }).find(at("parts/one.toml") + ":4:1: unknown key 's.typo'"),
            std::string::npos);
}

TEST_F(Include, OwnRulesComeBeforeIncludedOnes) {
  write("one.toml", "[[q.rule]]\nm = 'one'\n[[q.part]]\nm = 'one'\n");
  write("two.toml", "[[q.rule]]\nm = 'two'\n");
  write("main.toml",
        "include = ['one.toml', 'two.toml']\n[[q.rule]]\nm = 'own'\n[[q.part]]\nm = 'own'\n");
  Recipe recipe = load("main.toml");
  std::string order;
  for (const char* list : {"rule", "part"}) {
    for (Section entry : recipe.section("q").tables(list)) {
      std::string m;
      entry("m", m, "");
      order += m + " ";
    }
  }
  EXPECT_EQ(order, "own two one own ") << "rules are joined, any other list is replaced";
}

TEST_F(Include, AnotherComponentReplacesTheIncludedOneWithItsFields) {
  write("part.toml", "[part]\nkind = { name = 'gear', teeth = 20 }\n");
  write("same.toml", "include = 'part.toml'\n[part]\nkind = { name = 'gear', pitch = 9 }\n");
  write("field.toml", "include = 'part.toml'\n[part.kind]\npitch = 9\n");
  write("other.toml", "include = 'part.toml'\n[part]\nkind = { name = 'spring', stiffness = 3 }\n");
  for (const char* file : {"same.toml", "field.toml"}) {
    Recipe recipe = load(file);
    const auto gear = widgets().build(recipe.section("part"), "kind");
    EXPECT_EQ(dynamic_cast<const Gear&>(*gear).config.teeth, 20) << file;
    EXPECT_EQ(dynamic_cast<const Gear&>(*gear).config.pitch, 9) << file;
  }
  Recipe recipe = load("other.toml");
  widgets().build(recipe.section("part"), "kind");
  EXPECT_EQ(error_of([&] { recipe.reject_unknown(); }), "");
}

TEST_F(Include, CyclesAndMissingFilesAreErrors) {
  write("a.toml", "include = ['b.toml']\n");
  write("b.toml", "include = ['parts/../a.toml']\n");
  write("self.toml", "\ninclude = 'self.toml'\n");
  write("gone.toml", "include = ['none.toml']\n");
  write("wrong.toml", "include = 3\n");
  EXPECT_NE(error_of([&] { load("a.toml"); }).find("includes itself: a.toml -> b.toml -> again"),
            std::string::npos);
  EXPECT_NE(error_of([&] { load("self.toml"); }).find(at("self.toml") + ":2:"), std::string::npos);
  EXPECT_EQ(error_of([&] { load("gone.toml"); }),
            at("gone.toml") + ":1:12: 'include': " + at("none.toml") +
                ": cannot open recipe (No such file or directory); check the path");
  EXPECT_EQ(error_of([&] { load("wrong.toml"); }),
            at("wrong.toml") + ":1:1: 'include': expected a list of recipe files");
  EXPECT_EQ(error_of([&] { load("parts"); }),
            at("parts") + ": cannot open recipe (it is a folder); check the path");
}

TEST_F(Include, OneFileMayBeIncludedByTwo) {
  write("base.toml", "[s]\na = 1\n");
  write("left.toml", "include = 'base.toml'\n");
  write("right.toml", "include = 'base.toml'\n");
  write("main.toml", "include = ['left.toml', 'right.toml']\n");
  Recipe recipe = load("main.toml");
  EXPECT_EQ(number(recipe, "s", "a"), 1);
}

TEST_F(Include, TheWrittenRecipeHoldsWhatWasIncludedAndIncludesNothing) {
  write("base.toml", "[s]\na = 1\n");
  write("main.toml", "include = 'base.toml'\n[s]\nb = 2\n");
  Recipe recipe = load("main.toml");
  number(recipe, "s", "b");
  number(recipe, "s", "a");
  EXPECT_EQ(written(recipe), "[s]\nb = 2\na = 1\n");
}

TEST_F(Include, OverlayPutsOneRecipeOnTopOfAnother) {
  write("base.toml", "[s]\na = 1\nb = 1\n");
  write("main.toml", "[s]\nb = 2\n");
  Recipe recipe = load("base.toml");
  recipe.overlay(load("main.toml"));
  EXPECT_EQ(number(recipe, "s", "a"), 1);
  EXPECT_EQ(number(recipe, "s", "b"), 2);
}

}  // namespace
}  // namespace sterna::recipes::tests
