#include <random>

#include <gtest/gtest.h>

#include "recipes/suggest.h"
#include "tests/recipes/widgets.h"

namespace sterna::recipes::tests {
namespace {

constexpr const char* kWhole = R"(# a recipe with a bit of everything
[run]
name = "x\u00e9\n"
dir = '~/runs'
[part]
kind = { name = "gear", teeth = 20, pitch = 1.5e-1, metal = 'brass' }
list = [1, 2, [3, 'x'], { a = true }]
[part.other.deep]
x = -0x1F
[[part.rule]]
match = "*.down_proj"
kind = "spring"
[[part.rule]]
match = """several
lines"""
kind = { name = "spring", stiffness = inf }
)";

/// Reads what is there and writes it; any exception but RecipeError fails the test.
void use(const std::string& text, const std::string& assignment) {
  try {
    Recipe recipe = Recipe::parse(text, "r.toml");
    recipe.set(assignment);
    std::string name;
    recipe.section("run")("name", name, "");
    widgets().build(recipe.section("part"), "kind", "gear");
    for (Section rule : recipe.section("part").tables("rule")) {
      rule("match", name, "");
      widgets().build(rule, "kind");
    }
    const std::string once = written(recipe);
    Recipe::parse(once, "again");
    recipe.reject_unknown();
  } catch (const RecipeError& error) {
    EXPECT_NE(std::string(error.what()), "");
  }
}

std::string mutated(std::string text, std::mt19937& random) {
  constexpr std::string_view kBytes = "[]{}=.,\"'\\#\n\r\t 0-x_inf\xff\xc3\x00z";
  const auto pick = [&](size_t n) { return random() % n; };
  for (size_t edits = 1 + pick(6); edits > 0 && !text.empty(); --edits) {
    const size_t at = pick(text.size());
    switch (pick(5)) {
      case 0:
        text[at] = kBytes[pick(kBytes.size())];
        break;
      case 1:
        text.insert(at, 1, kBytes[pick(kBytes.size())]);
        break;
      case 2:
        text.erase(at, 1 + pick(8));
        break;
      case 3:
        text.insert(at, text.substr(pick(text.size()), 1 + pick(40)));
        break;
      default:
        text[at] = static_cast<char>(random());
    }
  }
  return text;
}

TEST(Hostile, TenThousandMutationsOfARecipeGiveErrorsAndNeverCrash) {
  std::mt19937 random(20261121);
  for (int i = 0; i < 10000; ++i)
    use(mutated(kWhole, random), mutated("part.kind.teeth=[1, 2]", random));
}

std::string repeated(const std::string& text, size_t times) {
  std::string all;
  for (size_t i = 0; i < times; ++i)
    all += text;
  return all;
}

// A key of 50,000 parts brought the program down where toml++ unmade its tables.
TEST(Hostile, AKeyOfManyPartsIsRefusedWhereverItStands) {
  const std::string key = repeated("a.", 100000) + "a";
  for (const std::string& text : {key + " = 1\n",
                                  "x = 1\n[" + key + "]\n",
                                  "x = { " + key + " = 1 }\n",
                                  "x = [1, { " + key + " = 1 }]\n",
                                  repeated("\"a\" . ", 100000) + "a = 1\n",
                                  repeated("'a'.", 100000) + "a = 1\nnot toml",
                                  key + " no toml either"}) {
    try {
      Recipe::parse(text, "r.toml");
      ADD_FAILURE() << text.substr(0, 20);
    } catch (const RecipeError& error) {
      EXPECT_NE(std::string(error.what()).find("nested deeper than 64"), std::string::npos)
          << error.what();
    }
  }
}

TEST(Hostile, DotsInTextsCommentsAndNumbersAreNoNesting) {
  const std::string dots(500, '.');
  for (const std::string& text :
       {"x = \"" + dots + "\"\n",
        "x = '" + dots + "'\n",
        "x = \"\"\"\n\"" + dots + "\n" + dots + "\"\"\"\n",
        "x = '''" + dots + "'\n" + dots + "'''\n",
        "x = \"\\\"" + dots + "\" # " + dots + "\n",
        "x = [" + repeated("1.5, ", 200) + "2.5]\n" + repeated("# a.b.c\n", 100)})
    EXPECT_NO_THROW(Recipe::parse(text, "r.toml")) << text.substr(0, 20);
}

TEST(Hostile, DeepNestingIsRefused) {
  for (const size_t depth : {65u, 255u, 5000u, 100000u}) {
    const std::string lists = "x = " + std::string(depth, '[') + std::string(depth, ']') + "\n";
    EXPECT_THROW(Recipe::parse(lists, "r.toml"), RecipeError) << depth;
    std::string tables = "x = 1";
    tables.insert(0, repeated("a.", depth));
    EXPECT_THROW(Recipe::parse(tables + "\n", "r.toml"), RecipeError) << depth;
    Recipe recipe;
    EXPECT_THROW(recipe.set(tables), RecipeError) << depth;
  }
}

TEST(Suggest, CountsEditsAndSwaps) {
  EXPECT_EQ(edit_distance("steps", "steps"), 0);
  EXPECT_EQ(edit_distance("setps", "steps"), 1);
  EXPECT_EQ(edit_distance("step", "steps"), 1);
  EXPECT_EQ(edit_distance("", "abc"), 3);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3);
}

TEST(Suggest, NothingFarAwayIsSuggested) {
  EXPECT_EQ(closest("stpes", {"warmup", "steps", "step"}), "steps");
  EXPECT_EQ(closest("zzzzz", {"warmup", "steps"}), "");
  EXPECT_EQ(closest("x", {}), "");
  EXPECT_EQ(did_you_mean("zzzzz", {"steps"}), "");
}

}  // namespace
}  // namespace sterna::recipes::tests
