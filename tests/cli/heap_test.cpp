#include "trainer/cli/heap.h"

#include <cstdlib>
#include <cstring>
#include <malloc.h>

#include <gtest/gtest.h>

namespace sterna::cli {
namespace {

// The sanitizers bring a malloc of their own.
#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__)
TEST(Heap, BigBlocksComeFromTheHeapAndStayThereWhenFreed) {
  constexpr size_t kBig = size_t{256} << 20;
  keep_freed_memory();
  const struct mallinfo2 before = mallinfo2();
  void* big = std::malloc(kBig);
  ASSERT_NE(big, nullptr);
  std::memset(big, 1, kBig);
  EXPECT_EQ(mallinfo2().hblks, before.hblks) << "the block was mapped";
  std::free(big);
  EXPECT_GE(mallinfo2().arena, before.arena + kBig - before.fordblks) << "the heap was trimmed";

  return_large_blocks();
  big = std::malloc(2 * kBig);  // more than the heap has free
  EXPECT_EQ(mallinfo2().hblks, before.hblks + 1) << "the block came from the heap";
  std::free(big);
  EXPECT_EQ(mallinfo2().hblks, before.hblks);
}
#endif

}  // namespace
}  // namespace sterna::cli
