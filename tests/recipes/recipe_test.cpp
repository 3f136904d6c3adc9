#include "recipes/recipe.h"

#include <gtest/gtest.h>

#include "tests/recipes/widgets.h"

namespace sterna::recipes::tests {
namespace {

/// Builds `[part] kind` as the trainer would; the error text, or "" where it is accepted.
std::string build_error(const std::string& text, const std::vector<std::string>& overrides = {}) {
  return error_of([&] {
    Recipe recipe = Recipe::parse(text, "r.toml");
    for (const std::string& assignment : overrides)
      recipe.set(assignment);
    widgets().build(recipe.section("part"), "kind");
    recipe.reject_unknown();
  });
}

TEST(Recipe, AcceptsKnownKeysInBothSpellingsOfAComponent) {
  EXPECT_EQ(build_error("[part]\nkind = 'gear'\n"), "");
  EXPECT_EQ(build_error("[part]\nkind = { name = 'gear', teeth = 20 }\n"), "");
}

TEST(Recipe, UnknownKeyNamesPlaceAndNearestKey) {
  EXPECT_EQ(build_error("# comment\n[part]\n  kind = { name = 'gear', teet = 20 }\n"),
            "r.toml:3:27: unknown key 'part.kind.teet'; did you mean 'part.kind.teeth'?");
}

TEST(Recipe, EveryUnknownKeyIsReportedAtOnce) {
  EXPECT_EQ(build_error("colour = 'red'\n[part]\nkind = 'peg'\nknid = 3\n"),
            "r.toml:1:1: unknown key 'colour'\n"
            "r.toml:4:1: unknown key 'part.knid'; did you mean 'part.kind'?");
}

TEST(Recipe, AValueWhereATableBelongsIsNotPassedOver) {
  EXPECT_EQ(build_error("part = 'gear'\n"),
            "r.toml:1:1: 'part': expected a table, found \"gear\"; set one of the keys below it");
  EXPECT_EQ(build_error("[part]\nkind = 'peg'\n", {"part=3"}),
            "command line: 'part': expected a table, found 3; set one of the keys below it");
  EXPECT_EQ(build_error("[[part]]\nkind = 'peg'\n"),
            "r.toml:1:3: 'part': expected a table, found [{ kind = \"peg\" }]; set one of the keys "
            "below it");
  Recipe recipe = Recipe::parse("[kd]\ninner = 4\n", "r.toml");
  int64_t x = 0;
  recipe.section("kd").sub("inner")("x", x, "");
  EXPECT_EQ(error_of([&] { recipe.reject_unknown(); }),
            "r.toml:2:1: 'kd.inner': expected a table, found 4; set one of the keys below it");
}

TEST(Recipe, AnUnknownTableIsReportedOnceAndNotKeyByKey) {
  EXPECT_EQ(build_error("[part]\nkind = 'peg'\n[prat]\na = 1\nb = 2\n"),
            "r.toml:3:2: unknown key 'prat'; did you mean 'part'?");
}

TEST(Recipe, AKeyUnderTheWrongTableSuggestsTheRightOne) {
  EXPECT_EQ(build_error("[something_else]\nx = 1\n[part.wrongly_nested]\nteeth = 5\n"
                        "[part.kind]\nname = 'gear'\n",
                        {"part.other.teeth=3"}),
            "r.toml:1:2: unknown key 'something_else'\n"
            "r.toml:3:7: unknown key 'part.wrongly_nested'\n"
            "command line: unknown key 'part.other'");
  Recipe recipe = Recipe::parse("[a]\nx = 1\n[b]\nlong_name = 2\n", "r.toml");
  int64_t x = 0;
  recipe.section("a")("long_name", x, "");
  recipe.section("b")("y", x, "");
  EXPECT_EQ(error_of([&] { recipe.reject_unknown(); }),
            "r.toml:2:1: unknown key 'a.x'\n"
            "r.toml:4:1: unknown key 'b.long_name'; did you mean 'a.long_name'?");
}

TEST(Recipe, KeyOfAnotherComponentSaysWhose) {
  EXPECT_EQ(build_error("[part]\nkind = { name = 'gear', stiffness = 2 }\n"),
            "r.toml:2:25: unknown key 'part.kind.stiffness'; it belongs to widget 'spring', which "
            "this recipe does not select");
}

TEST(Recipe, UnknownComponentSuggestsAName) {
  EXPECT_EQ(build_error("[part]\nkind = 'geer'\n"),
            "r.toml:2:1: 'part.kind': no widget named 'geer'; did you mean 'gear'?");
  EXPECT_EQ(build_error("[part]\nkind = 'qqq'\n"),
            "r.toml:2:1: 'part.kind': no widget named 'qqq'; known: gear, peg, spring");
}

TEST(Recipe, MissingComponentIsNamed) {
  EXPECT_EQ(build_error("[part]\n"),
            "r.toml:1:2: 'part.kind': missing; expected a component's name");
  EXPECT_EQ(build_error(""), "r.toml: 'part.kind': missing; expected a component's name");
}

TEST(Recipe, ValueErrorsNamePlaceExpectationAndFinding) {
  const auto gear = [](const std::string& field) {
    return build_error("[part]\nkind = { name = 'gear', " + field + " }\n");
  };
  EXPECT_EQ(gear("teeth = 12.5"),
            "r.toml:2:25: 'part.kind.teeth': expected an integer, found 12.5");
  EXPECT_EQ(gear("teeth = 'many'"),
            "r.toml:2:25: 'part.kind.teeth': expected an integer, found \"many\"");
  EXPECT_EQ(gear("teeth = 0"), "r.toml:2:25: 'part.kind.teeth': must lie in [1, 100], found 0");
  EXPECT_EQ(gear("teeth = 101"), "r.toml:2:25: 'part.kind.teeth': must lie in [1, 100], found 101");
  EXPECT_EQ(gear("pitch = nan"), "r.toml:2:25: 'part.kind.pitch': expected a number, found nan");
  EXPECT_EQ(gear("pitch = true"), "r.toml:2:25: 'part.kind.pitch': expected a number, found true");
  EXPECT_EQ(gear("metal = 'stel'"),
            "r.toml:2:25: 'part.kind.metal': expected one of \"steel\", \"brass\", found \"stel\"; "
            "did you mean 'steel'?");
  EXPECT_EQ(gear("metal = 5"), "r.toml:2:25: 'part.kind.metal': expected text in quotes, found 5");
  EXPECT_EQ(gear("pitch = 2"), "");
}

TEST(Recipe, SyntaxErrorsNameThePlace) {
  const std::string error = build_error("[part]\nkind = = 3\n");
  EXPECT_EQ(error.find("r.toml:2:8: "), 0u) << error;
  EXPECT_NE(build_error("[part]\nkind = 'gear'\nkind = 'peg'\n").find("r.toml:3:"),
            std::string::npos);
  EXPECT_NE(build_error("[part]\nkind = 1979-05-27\n").find("r.toml:2:8: recipes hold no dates"),
            std::string::npos);
}

TEST(Recipe, ListsTakeOneValueOrManyAndCheckEachEntry) {
  Recipe recipe = Recipe::parse("a = [1, 2.5]\nb = 'one'\nc = ['x', 3]\nd = [0.5, 7]\n", "r.toml");
  std::vector<double> a;
  std::vector<std::string> b, c;
  Section root = recipe.root();
  root("a", a, "");
  root("b", b, "");
  EXPECT_EQ(a, (std::vector<double>{1, 2.5}));
  EXPECT_EQ(b, (std::vector<std::string>{"one"}));
  EXPECT_EQ(error_of([&] { root("c", c, ""); }),
            "r.toml:3:1: 'c': expected a list of values, each text in quotes, found 3");
  EXPECT_EQ(error_of([&] {
              root("d", a, "", Range{0, 1});
            }),
            "r.toml:4:1: 'd': must lie in [0.0, 1.0], found 7.0");
}

TEST(Recipe, TablesGivesEveryEntryWithItsIndex) {
  Recipe recipe = Recipe::parse("[[q.rule]]\nm = 'a'\n[[q.rule]]\nm = 'b'\nn = 1\n", "r.toml");
  std::string joined;
  for (Section rule : recipe.section("q").tables("rule")) {
    std::string m;
    rule("m", m, "");
    joined += m;
  }
  EXPECT_EQ(joined, "ab");
  EXPECT_EQ(written(recipe), "[q]\n\n[[q.rule]]\nm = \"a\"\n\n[[q.rule]]\nm = \"b\"\n");
  EXPECT_EQ(error_of([&] { recipe.reject_unknown(); }),
            "r.toml:5:1: unknown key 'q.rule[1].n'; did you mean 'q.rule[1].m'?");
}

TEST(Recipe, ASingleTableOrNameCountsAsAListOfOne) {
  for (const char* text : {"[q]\nloss = { name = 'gear', teeth = 3 }\n",
                           "[q]\nloss = [{ name = 'gear', teeth = 3 }]\n"}) {
    Recipe recipe = Recipe::parse(text, "r.toml");
    std::vector<Section> losses = recipe.section("q").tables("loss");
    ASSERT_EQ(losses.size(), 1u);
    const auto gear = widgets().build_named(losses[0].selected(), losses[0]);
    EXPECT_EQ(dynamic_cast<const Gear&>(*gear).config.teeth, 3);
    EXPECT_EQ(error_of([&] { recipe.reject_unknown(); }), "");
  }
  Recipe recipe = Recipe::parse("[q]\nloss = ['gear', 'peg']\n", "r.toml");
  std::vector<Section> losses = recipe.section("q").tables("loss");
  ASSERT_EQ(losses.size(), 2u);
  EXPECT_EQ(losses[0].selected(), "gear");
  EXPECT_EQ(losses[1].selected(), "peg");
  EXPECT_EQ(error_of([&] { recipe.reject_unknown(); }), "");
  Recipe empty = Recipe::parse("[q]\nloss = []\n", "r.toml");
  EXPECT_TRUE(empty.section("q").tables("loss").empty());
  EXPECT_EQ(error_of([&] { empty.reject_unknown(); }), "");
}

TEST(Recipe, IgnoredTablesAreNobodysTypo) {
  Recipe recipe = Recipe::parse("[train]\nsteps = 3\n[part]\nkind = 'peg'\n", "r.toml");
  widgets().build(recipe.section("part"), "kind");
  EXPECT_NE(error_of([&] { recipe.reject_unknown(); }), "");
  recipe.ignore("train");
  EXPECT_EQ(error_of([&] { recipe.reject_unknown(); }), "");
}

}  // namespace
}  // namespace sterna::recipes::tests
