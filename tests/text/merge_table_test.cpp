#include "trainer/text/merge_table.h"

#include <algorithm>
#include <random>
#include <stdexcept>

#include <gtest/gtest.h>

namespace sterna::text {
namespace {

// The definition: the lowest rank, of those the leftmost, until nothing merges.
std::vector<int32_t> naive(const MergeTable& table, std::vector<int32_t> symbols) {
  for (;;) {
    Merge best;
    size_t at = 0;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      const Merge merge = table.find(symbols[i], symbols[i + 1]);
      if (merge.rank < best.rank) {
        best = merge;
        at = i;
      }
    }
    if (best.rank == Merge::kNone) {
      return symbols;
    }
    symbols[at] = best.id;
    symbols.erase(symbols.begin() + static_cast<int64_t>(at) + 1);
  }
}

TEST(MergeSymbols, EqualsTheNaiveLoopForShortAndLongWords) {
  std::mt19937_64 random(3);
  for (int round = 0; round < 300; ++round) {
    MergeTable table(200);
    const uint32_t ranks = round % 3 == 0 ? 5 : 200;  // equal ranks as well
    for (int i = 0; i < 200; ++i) {
      table.set(static_cast<int32_t>(random() % 20),
                static_cast<int32_t>(random() % 20),
                {static_cast<uint32_t>(random() % ranks), static_cast<int32_t>(random() % 20)});
    }
    std::vector<int32_t> symbols(random() % (round % 2 == 0 ? 40 : 300));
    for (int32_t& symbol : symbols) {
      symbol = static_cast<int32_t>(random() % 20);
    }
    const std::vector<int32_t> expected = naive(table, symbols);
    merge_symbols(table, symbols);
    ASSERT_EQ(symbols, expected) << "round " << round;
  }
}

TEST(MergeTable, FindsWhatWasSetLastAndNothingElse) {
  MergeTable table(2);
  EXPECT_EQ(table.find(0, 0).rank, Merge::kNone);
  table.set(1, 2, {7, 3});
  table.set(1, 2, {5, 4});
  EXPECT_EQ(table.find(1, 2).rank, 5u);
  EXPECT_EQ(table.find(1, 2).id, 4);
  EXPECT_EQ(table.find(2, 1).rank, Merge::kNone);
}

TEST(MergeTable, RefusesToFillUp) {
  MergeTable table(4);
  EXPECT_THROW(
      {
        for (int32_t i = 0; i < 100; ++i) {
          table.set(i, i, {0, 0});
        }
      },
      std::logic_error);
}

}  // namespace
}  // namespace sterna::text
