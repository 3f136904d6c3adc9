#include "trainer/dist/world.h"

#include <gtest/gtest.h>

namespace sterna::dist {
namespace {

TEST(World, OfOneLeavesSumsAndGathersAsTheyAre) {
  const auto world = make_single();
  EXPECT_EQ(world->rank(), 0);
  EXPECT_EQ(world->size(), 1);
  at::Tensor x = at::arange(6, at::kFloat);
  world->all_reduce({x})->wait();
  EXPECT_TRUE(at::equal(x, at::arange(6, at::kFloat)));
  at::Tensor scattered = at::zeros(6);
  world->reduce_scatter(scattered, x)->wait();
  EXPECT_TRUE(at::equal(scattered, x));
  at::Tensor gathered = at::zeros(6);
  world->all_gather(gathered, x)->wait();
  EXPECT_TRUE(at::equal(gathered, x));
  EXPECT_EQ(world->gather_bytes("abc"), std::vector<std::string>{"abc"});
}

TEST(World, OfOneHasItselfAsItsOnlySubgroup) {
  const auto world = make_single();
  EXPECT_NE(world->subgroup({0}), nullptr);
  EXPECT_EQ(world->subgroup({}), nullptr);
  EXPECT_THROW(world->abort("because"), std::exception);
}

}  // namespace
}  // namespace sterna::dist
