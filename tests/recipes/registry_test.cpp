#include "recipes/registry.h"

#include <gtest/gtest.h>

#include "tests/recipes/widgets.h"

namespace sterna::recipes::tests {
namespace {

TEST(Registry, AMakerReadsTheSettingsOnceAndOutlivesTheRecipe) {
  Registry<Widget>::Maker make;
  {
    Recipe recipe = Recipe::parse("[part]\nkind = { name = 'gear', teeth = 20 }\n", "r.toml");
    make = widgets().maker(recipe.section("part"), "kind");
  }
  const auto one = make();
  const auto two = make();
  EXPECT_NE(one.get(), two.get());
  EXPECT_EQ(dynamic_cast<const Gear&>(*one).config.teeth, 20);
  EXPECT_EQ(dynamic_cast<const Gear&>(*two).config.teeth, 20);
}

TEST(Registry, TheFallbackServesWhereTheRecipeDoesNotSay) {
  Recipe recipe;
  const auto gear = widgets().build(recipe.section("part"), "kind", "gear");
  EXPECT_EQ(dynamic_cast<const Gear&>(*gear).config.teeth, 12);
}

TEST(Registry, DefaultsAreMadeWithoutARecipe) {
  for (const std::string& name : widgets().names())
    EXPECT_NE(widgets().make_default(name), nullptr) << name;
  EXPECT_EQ(dynamic_cast<const Gear&>(*widgets().make_default("gear")).config.teeth, 12);
}

TEST(Registry, NamesAreSortedAndFound) {
  EXPECT_EQ(widgets().names(), (std::vector<std::string>{"gear", "peg", "spring"}));
  EXPECT_TRUE(widgets().contains("peg"));
  EXPECT_FALSE(widgets().contains("pe"));
}

TEST(Registry, ANameCanBeTakenOnce) {
  Registry<Widget> registry = widgets();
  EXPECT_THROW(registry.add<Peg>("gear", ""), std::logic_error);
}

TEST(Registry, DescribeShowsDefaultsRangesAndHelp) {
  std::ostringstream out;
  widgets().describe(out);
  EXPECT_EQ(out.str(),
            "widget gear: a toothed wheel\n"
            "    teeth = 12  (integer, 1 to 100)\n"
            "        number of teeth\n"
            "    pitch = 1.5  (number)\n"
            "        millimetres between teeth\n"
            "    metal = \"steel\"  (text, steel | brass)\n"
            "        what it is made of\n"
            "widget peg: no settings at all\n"
            "widget spring: a coil\n"
            "    stiffness = 1.0  (number)\n"
            "        newtons per metre\n");
}

}  // namespace
}  // namespace sterna::recipes::tests
