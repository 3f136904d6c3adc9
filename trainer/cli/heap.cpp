#include "trainer/cli/heap.h"

#include <malloc.h>

namespace sterna::cli {

void keep_freed_memory() {
#ifdef __GLIBC__
  constexpr int kGrowBy = 64 << 20;
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, -1);
  mallopt(M_TOP_PAD, kGrowBy);
#endif
}

}  // namespace sterna::cli
