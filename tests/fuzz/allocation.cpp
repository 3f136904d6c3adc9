#include "tests/fuzz/allocation.h"

#include <atomic>
#include <cstdlib>
#include <malloc.h>
#include <new>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define STERNA_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define STERNA_ASAN 1
#endif
#ifdef STERNA_ASAN
// As <sanitizer/allocator_interface.h> has them, which GCC 12 links and does not ship.
extern "C" {
size_t __sanitizer_get_allocated_size(const volatile void* block);
int __sanitizer_install_malloc_and_free_hooks(void (*taken)(const volatile void*, size_t),
                                              void (*given_back)(const volatile void*));
}
#endif

namespace {

std::atomic<int64_t> live{0};
std::atomic<int64_t> highest{0};

void count(int64_t bytes) {
  const int64_t now = live.fetch_add(bytes, std::memory_order_relaxed) + bytes;
  int64_t seen = highest.load(std::memory_order_relaxed);
  while (now > seen && !highest.compare_exchange_weak(seen, now, std::memory_order_relaxed)) {
  }
}

#ifdef STERNA_ASAN
void taken(const volatile void* /*block*/, size_t size) {
  count(static_cast<int64_t>(size));
}
void given_back(const volatile void* block) {
  count(-static_cast<int64_t>(__sanitizer_get_allocated_size(block)));
}
#endif

}  // namespace

#ifndef STERNA_ASAN
void* operator new(size_t size) {
  void* block = std::malloc(size == 0 ? 1 : size);
  if (block == nullptr)
    throw std::bad_alloc();
  count(static_cast<int64_t>(malloc_usable_size(block)));
  return block;
}

void operator delete(void* block) noexcept {
  count(-static_cast<int64_t>(malloc_usable_size(block)));
  std::free(block);
}

void operator delete(void* block, size_t /*size*/) noexcept {
  operator delete(block);
}
#endif

namespace sterna::tests::fuzz {

AllocationMeter::AllocationMeter() : before_(live.load()) {
#ifdef STERNA_ASAN
  static const int installed = __sanitizer_install_malloc_and_free_hooks(taken, given_back);
  (void)installed;
#endif
  highest = before_;
}

int64_t AllocationMeter::peak() const {
  return highest.load() - before_;
}

}  // namespace sterna::tests::fuzz
