#include <gtest/gtest.h>

#include "tests/recipes/widgets.h"

namespace sterna::recipes::tests {
namespace {

Recipe with(const std::string& text, const std::vector<std::string>& overrides) {
  Recipe recipe = Recipe::parse(text, "r.toml");
  for (const std::string& assignment : overrides)
    recipe.set(assignment);
  return recipe;
}

Gear::Config gear_of(Recipe recipe) {
  const auto gear = widgets().build(recipe.section("part"), "kind");
  recipe.reject_unknown();
  return dynamic_cast<const Gear&>(*gear).config;
}

std::string text_of(const std::string& assignment) {
  Recipe recipe = with("", {assignment});
  std::string value;
  recipe.section("run")("name", value, "");
  return value;
}

constexpr const char* kText = "[part]\nkind = { name = 'gear', teeth = 20, pitch = 2.5 }\n";

TEST(Override, SetsAFieldAndKeepsTheOthers) {
  const Gear::Config gear = gear_of(with(kText, {"part.kind.teeth=7"}));
  EXPECT_EQ(gear.teeth, 7);
  EXPECT_EQ(gear.pitch, 2.5);
}

TEST(Override, NamingAComponentReplacesItsTable) {
  const Gear::Config gear = gear_of(with(kText, {"part.kind=gear"}));
  EXPECT_EQ(gear.teeth, 12);
  EXPECT_EQ(gear.pitch, 1.5);
  Recipe recipe = with(kText, {"part.kind=peg"});
  EXPECT_NE(dynamic_cast<const Peg*>(widgets().build(recipe.section("part"), "kind").get()),
            nullptr);
  EXPECT_EQ(error_of([&] { recipe.reject_unknown(); }), "");
}

TEST(Override, AFieldBelowAShorthandKeepsTheName) {
  EXPECT_EQ(gear_of(with("[part]\nkind = 'gear'\n", {"part.kind.teeth=9"})).teeth, 9);
  EXPECT_EQ(gear_of(with("", {"part.kind=gear", "part.kind.teeth=8"})).teeth, 8);
}

TEST(Override, TheLaterOfTwoWins) {
  EXPECT_EQ(gear_of(with(kText, {"part.kind.teeth=7", "part.kind.teeth=8"})).teeth, 8);
}

TEST(Override, ValuesAreTomlOrElseBareText) {
  EXPECT_EQ(text_of("run.name=plain words"), "plain words");
  EXPECT_EQ(text_of("run.name=\"quoted\""), "quoted");
  EXPECT_EQ(text_of("run.name=007"), "007");
  EXPECT_EQ(text_of("run.name=true"), "true");
  EXPECT_EQ(text_of("run.name=1e-3"), "1e-3");
  EXPECT_EQ(text_of("run.name=2026-11-21"), "2026-11-21");
  EXPECT_EQ(text_of("run.name=a=b#c"), "a=b#c");
  EXPECT_EQ(text_of("run.name="), "");
  EXPECT_EQ(text_of("run.name=two\nx = 3"), "two\nx = 3");
  EXPECT_EQ(text_of("run.name=x y.dir = 3"), "x y.dir = 3");
  EXPECT_EQ(gear_of(with(kText, {"part.kind={ name = 'gear', teeth = 3 }"})).pitch, 1.5);
}

TEST(Override, ABareWordStaysTextWhenWrittenAndReadBack) {
  Recipe recipe = with("", {"run.name=007"});
  std::string value;
  recipe.section("run")("name", value, "");
  EXPECT_EQ(written(recipe), "[run]\nname = \"007\"\n");
}

TEST(Override, ReachesIntoLists) {
  const std::string text = "[[q.rule]]\nm = 'a'\n[[q.rule]]\nm = 'b'\n";
  Recipe recipe = with(text, {"q.rule.1.m=c"});
  std::string m;
  recipe.section("q").tables("rule")[1]("m", m, "");
  EXPECT_EQ(m, "c");
  EXPECT_EQ(error_of([&] { with(text, {"q.rule.2.m=c"}); }),
            "command line: 'q.rule.2.m=c': the list has 2 entries, none is number '2' (they count "
            "from 0)");
}

TEST(Override, MistakesAreNamed) {
  const auto error = [](const std::string& assignment) {
    return error_of([&] { gear_of(with(kText, {assignment})); });
  };
  EXPECT_EQ(error("part.kind.teth=3"),
            "command line: unknown key 'part.kind.teth'; did you mean 'part.kind.teeth'?");
  EXPECT_EQ(error("part.kind.teeth=many"),
            "command line: 'part.kind.teeth': expected an integer, found \"many\"");
  for (const char* bad : {"no_equals", "=3", "a..b=3", ".a=3", "a.=3"}) {
    EXPECT_EQ(error(bad), std::string("command line: '") + bad + "': expected section.key=value");
  }
  EXPECT_NE(error("part.list=[1, 2").find("command line"), std::string::npos);
  EXPECT_NE(error("part.kind.teeth.x=3").find("which is no table"), std::string::npos);
  EXPECT_NE(error("include=['a.toml']").find("recipe files only"), std::string::npos);
  EXPECT_NE(error("part.kind.metal=\xff\xfe"), "");
}

}  // namespace
}  // namespace sterna::recipes::tests
