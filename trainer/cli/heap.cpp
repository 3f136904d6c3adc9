#include "trainer/cli/heap.h"

#include <malloc.h>

#include <c10/core/CPUAllocator.h>

#include "trainer/cli/block_cache.h"

namespace sterna::cli {

void keep_freed_memory() {
#ifdef __GLIBC__
  constexpr int kGrowBy = 64 << 20;
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, -1);
  mallopt(M_TOP_PAD, kGrowBy);
#endif
}

void return_large_blocks() {
  static auto& cache = *new BlockCache(*c10::GetDefaultCPUAllocator());  // outlives tensors
  c10::SetAllocator(c10::kCPU, &cache);
#ifdef __GLIBC__
  constexpr int kMostMappings = 1 << 16;  // glibc's own
  constexpr int kLarge = 256 << 10;
  mallopt(M_MMAP_THRESHOLD, kLarge);
  mallopt(M_MMAP_MAX, kMostMappings);
  mallopt(M_TRIM_THRESHOLD, kLarge);
  mallopt(M_TOP_PAD, kLarge);
  mallopt(M_ARENA_MAX, 1);  // those of Gloo's threads would keep holes of their own
#endif
}

}  // namespace sterna::cli
