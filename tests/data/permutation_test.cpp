#include "trainer/data/permutation.h"

#include <set>
#include <stdexcept>
#include <vector>

#include <gtest/gtest.h>

namespace sterna::data {
namespace {

std::vector<int64_t> order(int64_t size, int64_t seed, int64_t epoch) {
  const Permutation permutation(size, seed, epoch);
  std::vector<int64_t> out;
  for (int64_t i = 0; i < size; ++i) {
    out.push_back(permutation.at(i));
  }
  return out;
}

TEST(Permutation, VisitsEveryIndexOnceForSizesAroundPowersOfTwo) {
  for (const int64_t size : {1, 2, 3, 4, 5, 15, 16, 17, 63, 64, 65, 1000, 4096, 4097}) {
    for (const int64_t epoch : {0, 1, 7}) {
      const std::vector<int64_t> visited = order(size, 42, epoch);
      const std::set<int64_t> distinct(visited.begin(), visited.end());
      EXPECT_EQ(std::ssize(distinct), size);
      EXPECT_EQ(*distinct.begin(), 0);
      EXPECT_EQ(*distinct.rbegin(), size - 1);
    }
  }
}

TEST(Permutation, DiffersBySeedAndByEpoch) {
  EXPECT_NE(order(100, 1, 0), order(100, 1, 1));
  EXPECT_NE(order(100, 1, 0), order(100, 2, 0));
  EXPECT_NE(order(100, 1, 1), order(100, 2, 0));
  EXPECT_EQ(order(100, 1, 5), order(100, 1, 5));
}

TEST(Permutation, LeavesNoTraceOfTheOriginalOrder) {
  // A random permutation of 10,000 has about one fixed point, and about half of all neighbours
  // rise.
  int64_t fixed = 0;
  int64_t rising = 0;
  const std::vector<int64_t> visited = order(10000, 3, 0);
  for (int64_t i = 1; i < 10000; ++i) {
    const auto slot = static_cast<size_t>(i);
    fixed += visited[slot] == i ? 1 : 0;
    rising += visited[slot] > visited[slot - 1] ? 1 : 0;
  }
  EXPECT_LT(fixed, 8);
  EXPECT_NEAR(rising, 5000, 150);
}

TEST(Permutation, RefusesAnIndexOutsideItsRange) {
  const Permutation permutation(10, 0, 0);
  EXPECT_THROW(permutation.at(10), std::out_of_range);
  EXPECT_THROW(permutation.at(-1), std::out_of_range);
  EXPECT_THROW(Permutation(0, 0, 0), std::invalid_argument);
}

// The order is part of what a resumed run relies on: a change of it must be seen.
TEST(Permutation, IsTheSameInEveryVersion) {
  const std::vector<int64_t> expected = {1, 5, 6, 0, 7, 3, 2, 4};
  EXPECT_EQ(order(8, 1234, 2), expected);
}

}  // namespace
}  // namespace sterna::data
