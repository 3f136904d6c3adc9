// The sections that build something, read as a run reads them, and the recipe that is written back.
#include "recipes/recipe.h"

#include <cstdlib>
#include <sstream>

#include "distill/objective.h"
#include "quant/adapter_plan.h"
#include "quant/plan.h"
#include "tests/fuzz/target.h"
#include "tests/support/paths.h"
#include "trainer/data/config.h"
#include "trainer/run/ranges.h"

namespace sterna::tests::fuzz {
namespace {

std::vector<std::string> seeds() {
  ::setenv("STERNA_DATA", "data", /*overwrite=*/0);  // some name their texts by it
  std::vector<std::string> all = all_bytes(source_dir() / "recipes", ".toml");
  const std::string include = "include = [\"";
  for (std::string text : all_bytes(source_dir() / "recipes/tests", ".toml")) {
    if (const size_t at = text.find(include); at != std::string::npos)
      text.insert(at + include.size(), "tests/");
    all.push_back(std::move(text));
  }
  return all;
}

std::string text_of(const recipes::Recipe& recipe) {
  std::ostringstream text;
  recipe.write(text);
  return text.str();
}

bool feed(const std::string& input) {
  // Beside the seeds, so that their includes are found.
  const std::string origin = (source_dir() / "recipes/fuzz.toml").string();
  std::string resolved;
  const bool accepted = reads([&] {
    recipes::Recipe recipe = recipes::Recipe::parse(input, origin);
    distill::Objective(recipe.section("kd"));
    run::RangeRules::read(recipe.section("kd"));
    quant::Plan::read(recipe.section("quant"));
    quant::AdapterPlan::read(recipe.section("adapter"));
    data::read_config(recipe.section("data"));
    for (const std::string& table : recipe.root().keys()) {
      if (table != "kd" && table != "quant" && table != "adapter" && table != "data")
        recipe.ignore(table);
    }
    resolved = text_of(recipe);
    recipe.reject_unknown();
  });
  if (accepted && !reads([&] { recipes::Recipe::parse(resolved, "written"); }))
    throw std::logic_error("a recipe was written that cannot be read:\n" + resolved);
  return accepted;
}

}  // namespace

Target recipe_target() {
  return {"recipe", seeds, feed};
}

}  // namespace sterna::tests::fuzz
