#include "trainer/cli/block_cache.h"

#include <cstring>
#include <thread>
#include <vector>

#include <ATen/ATen.h>
#include <c10/core/CPUAllocator.h>
#include <gtest/gtest.h>

namespace sterna::cli {
namespace {

constexpr size_t kLarge = BlockCache::kLarge;

class Blocks : public testing::Test {
 protected:
  BlockCache cache_{*c10::GetDefaultCPUAllocator()};
  c10::DataPtr much_ = cache_.allocate(64 * kLarge);  // what the share is of
};

TEST_F(Blocks, ABlockThatWaitsIsTheNextOfItsSize) {
  c10::DataPtr block = cache_.allocate(kLarge);
  const void* const memory = block.get();
  block.clear();
  EXPECT_EQ(cache_.kept(), kLarge);
  const c10::DataPtr other = cache_.allocate(kLarge + 1);
  EXPECT_NE(other.get(), memory) << "of another size";
  block = cache_.allocate(kLarge);
  EXPECT_EQ(block.get(), memory);
  EXPECT_EQ(cache_.kept(), 0U);
  EXPECT_EQ(cache_.held(), 64 * kLarge + kLarge + kLarge + 1);
}

TEST_F(Blocks, WhatWaitsIsASixteenthOfWhatIsHeld) {
  std::vector<c10::DataPtr> blocks;
  for (size_t i = 0; i < 12; ++i)
    blocks.push_back(cache_.allocate(kLarge + 64 * i));
  const void* const newest = blocks.back().get();
  for (c10::DataPtr& block : blocks) {
    block.clear();
    EXPECT_LE(cache_.kept(), cache_.held() / BlockCache::kShare);
  }
  EXPECT_GT(cache_.kept(), 2 * kLarge);
  EXPECT_EQ(cache_.allocate(kLarge + 64 * 11).get(), newest) << "the oldest go first";
  much_.clear();
  EXPECT_EQ(cache_.kept(), 0U) << "with nothing held nothing is kept";
  EXPECT_EQ(cache_.held(), 0U);
}

TEST_F(Blocks, SmallOnesAreNotCounted) {
  const size_t held = cache_.held();
  c10::DataPtr small = cache_.allocate(kLarge - 1);
  EXPECT_EQ(cache_.held(), held);
  small.clear();
  EXPECT_EQ(cache_.kept(), 0U);
  EXPECT_NE(cache_.allocate(0).get(), nullptr);
}

TEST_F(Blocks, AllAreAlignedAsTensorsExpect) {
  for (const size_t bytes : {size_t{1}, size_t{100}, kLarge - 1, kLarge, kLarge + 3})
    EXPECT_EQ(reinterpret_cast<uintptr_t>(cache_.allocate(bytes).get()) % 64, 0U) << bytes;
}

TEST_F(Blocks, RawBlocksAreGivenBackByTheOneDeleter) {
  // oneDNN's scratch comes this way.
  for (const size_t bytes : {size_t{64}, 3 * kLarge}) {
    void* memory = cache_.raw_allocate(bytes);
    std::memset(memory, 1, bytes);
    cache_.raw_deallocate(memory);
  }
  EXPECT_EQ(cache_.kept(), 3 * kLarge);
}

TEST_F(Blocks, ThreadsShareIt) {
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread)
    threads.emplace_back([this, thread] {
      for (size_t i = 0; i < 500; ++i) {
        const size_t bytes = kLarge + 4096 * (i % 3);
        c10::DataPtr block = cache_.allocate(bytes);
        auto* bytes_of = static_cast<unsigned char*>(block.get());
        bytes_of[0] = bytes_of[bytes - 1] = static_cast<unsigned char>(thread);
        std::this_thread::yield();
        ASSERT_EQ(bytes_of[0], thread) << "two threads have one block";
        ASSERT_EQ(bytes_of[bytes - 1], thread);
      }
    });
  for (std::thread& each : threads)
    each.join();
  EXPECT_EQ(cache_.held(), 64 * kLarge);
}

}  // namespace
}  // namespace sterna::cli
