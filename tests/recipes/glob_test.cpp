#include "recipes/glob.h"

#include <gtest/gtest.h>

namespace sterna::recipes {
namespace {

TEST(Glob, AStarStandsForAnythingDotsIncludedAndTheRestForItself) {
  EXPECT_TRUE(glob_matches("*.down_proj", "model.layers.3.mlp.down_proj"));
  EXPECT_TRUE(glob_matches("model.*.mlp.*", "model.layers.3.mlp.down_proj"));
  EXPECT_TRUE(glob_matches("model.layers.?.mlp.down_proj", "model.layers.3.mlp.down_proj"));
  EXPECT_TRUE(glob_matches("*", ""));
  EXPECT_TRUE(glob_matches("**a**", "a"));
  EXPECT_TRUE(glob_matches("lm_head", "lm_head"));
  EXPECT_FALSE(glob_matches("lm_head", "model.lm_head"));
  EXPECT_FALSE(glob_matches("*.down_proj", "down_proj"));
  EXPECT_FALSE(glob_matches("*.down_proj", "model.down_proj.bias"));
  EXPECT_FALSE(glob_matches("model.layers.?.mlp", "model.layers.13.mlp"));
  EXPECT_FALSE(glob_matches("modelxlm", "model.lm"));
  EXPECT_FALSE(glob_matches("", "a"));
  EXPECT_FALSE(glob_matches("?", ""));
}

TEST(Glob, ManyStarsTakeNoLongTime) {
  std::string pattern;
  for (int i = 0; i < 60; ++i)
    pattern += "*a";
  EXPECT_FALSE(glob_matches(pattern + "b", std::string(2000, 'a')));
}

TEST(Glob, TheNearestTextNeedsTheFewestEdits) {
  const std::vector<std::string> texts{"a.q_proj", "a.k_proj", "b.mlp.down_proj"};
  EXPECT_EQ(nearest_to_glob("*.down_prj", texts), "b.mlp.down_proj");
  EXPECT_EQ(nearest_to_glob("c.k_proj", texts), "a.k_proj");
  EXPECT_EQ(nearest_to_glob("?.?_proj", texts), "a.q_proj");
  EXPECT_EQ(nearest_to_glob("x", {}), "");
}

}  // namespace
}  // namespace sterna::recipes
