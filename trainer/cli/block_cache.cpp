#include "trainer/cli/block_cache.h"

#include <new>

namespace sterna::cli {

c10::DataPtr BlockCache::allocate(size_t bytes) {
  Block* block = bytes < kLarge ? nullptr : waiting_of(bytes);
  if (block == nullptr)
    block = made(bytes);
  return {block + 1, block + 1, &give_back, c10::Device(c10::kCPU)};
}

BlockCache::Block* BlockCache::made(size_t bytes) {
  Block* block = new (below_.raw_allocate(sizeof(Block) + bytes)) Block{this, bytes};
  if (bytes >= kLarge) {
    const std::lock_guard lock(mutex_);
    held_ += bytes;
  }
  return block;
}

void BlockCache::copy_data(void* to, const void* from, size_t bytes) const {
  default_copy_data(to, from, bytes);
}

/// @return  null where none of that size waits
BlockCache::Block* BlockCache::waiting_of(size_t bytes) {
  const std::lock_guard lock(mutex_);
  const auto found = by_size_.find(bytes);
  if (found == by_size_.end())
    return nullptr;
  const Waiting::iterator newest = found->second.front();
  found->second.pop_front();
  if (found->second.empty())
    by_size_.erase(found);
  Block* block = *newest;
  waiting_.erase(newest);
  kept_ -= bytes;
  held_ += bytes;
  return block;
}

void BlockCache::give_back(void* memory) {
  Block* block = static_cast<Block*>(memory) - 1;
  BlockCache& home = *block->home;
  Waiting leaving;
  if (block->bytes < kLarge) {
    leaving.push_back(block);
  } else {
    const std::lock_guard lock(home.mutex_);
    home.held_ -= block->bytes;
    home.kept_ += block->bytes;
    home.waiting_.push_front(block);
    home.by_size_[block->bytes].push_front(home.waiting_.begin());
    leaving = home.too_many();
  }
  for (Block* each : leaving)
    home.below_.raw_deallocate(each);
}

/// Takes out the oldest until what is left is the share that may be kept.
BlockCache::Waiting BlockCache::too_many() {
  Waiting leaving;
  while (kept_ > held_ / kShare) {
    const auto oldest = std::prev(waiting_.end());
    const auto of_size = by_size_.find((*oldest)->bytes);
    of_size->second.pop_back();
    if (of_size->second.empty())
      by_size_.erase(of_size);
    kept_ -= (*oldest)->bytes;
    leaving.splice(leaving.end(), waiting_, oldest);
  }
  return leaving;
}

size_t BlockCache::held() const {
  const std::lock_guard lock(mutex_);
  return held_;
}

size_t BlockCache::kept() const {
  const std::lock_guard lock(mutex_);
  return kept_;
}

}  // namespace sterna::cli
