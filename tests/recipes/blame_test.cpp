#include "recipes/blame.h"

#include <gtest/gtest.h>

namespace sterna::recipes {
namespace {

struct Settings {
  int64_t length = 8;
  std::vector<std::string> words;

  template <class Visitor>
  void fields(Visitor& v) {
    v("length", length, "");
    v("words", words, "");
  }
};

std::string error_of(Recipe& recipe, const std::string& message) {
  try {
    at_its_key(recipe, [&] { throw UserError(message); });
  } catch (const UserError& error) {
    return error.what();
  }
  return "";
}

TEST(AtItsKey, AnErrorThatBeginsWithAKeyGetsItsPlace) {
  Recipe recipe = Recipe::parse("[train]\n length = 3\n", "r.toml");
  recipe.set("eval.length=4");
  for (const char* table : {"train", "eval"})
    recipe.section(table).read<Settings>();
  EXPECT_EQ(error_of(recipe, "train.length: too long: 3"),
            "r.toml:2:2: 'train.length': too long: 3");
  EXPECT_EQ(error_of(recipe, "eval.length: too long"), "command line: 'eval.length': too long");
  EXPECT_EQ(error_of(recipe, "train.words: 'x' is no word"),
            "r.toml:1:2: 'train.words': 'x' is no word")
      << "a default is of the table that leaves it out";
}

TEST(AtItsKey, AnythingElseStaysAsItIs) {
  Recipe recipe = Recipe::parse("[train]\nlength = 3\n", "r.toml");
  recipe.section("train").read<Settings>();
  for (const char* message : {"train.txt: cannot be opened",
                              "model.embed_tokens: has another shape",
                              "train.length",
                              "length: 3",
                              "train: 3",
                              ""})
    EXPECT_EQ(error_of(recipe, message), message);
  EXPECT_EQ(at_its_key(recipe, [] { return 5; }), 5);
  // An error that has its place keeps it.
  EXPECT_THROW(at_its_key(recipe, [&] { recipe.section("train").fail("words", "none"); }),
               RecipeError);
}

TEST(OtherTables, OfFilesAreIgnoredAndThoseThatWereTypedAreMistakes) {
  const auto unknown = [](const std::string& file, const std::vector<std::string>& typed) {
    Recipe recipe;
    recipe.overlay(Recipe::parse(file, "r.toml"));
    for (const std::string& assignment : typed)
      recipe.set(assignment);
    ignore_other_tables(recipe, {"eval"});
    recipe.section("eval").read<Settings>();
    try {
      recipe.reject_unknown();
      return std::string();
    } catch (const RecipeError& error) {
      return std::string(error.what());
    }
  };
  const std::string file = "[train]\nsteps = 3\n[eval]\nlength = 2\n";
  EXPECT_EQ(unknown(file, {}), "");
  EXPECT_EQ(unknown(file, {"eval.length=4", "train.steps=4"}), "");
  EXPECT_NE(unknown(file, {"evla.length=4"}).find("command line: unknown key 'evla'"),
            std::string::npos)
      << unknown(file, {"evla.length=4"});
  EXPECT_NE(unknown(file + "lenght = 4\n", {}).find("r.toml:5:1: unknown key 'eval.lenght'"),
            std::string::npos);
  EXPECT_NE(unknown("", {"train.steps=4"}), "");
}

}  // namespace
}  // namespace sterna::recipes
