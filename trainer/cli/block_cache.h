#pragma once

#include <cstddef>
#include <deque>
#include <list>
#include <mutex>
#include <unordered_map>

#include <c10/core/Allocator.h>

namespace sterna::cli {

/// Large blocks of host memory for tensors, each kept for the next one of its size: a step's
/// temporaries come without pages that the kernel has to zero. At most 1/16 of what tensors hold
/// in large blocks is kept beside them, the oldest goes back first; so holes cannot grow, which a
/// heap has between blocks of many sizes. Small blocks are not kept. Threads may share it.
class BlockCache final : public c10::Allocator {
 public:
  static constexpr size_t kLarge = size_t{256} << 10;  ///< bytes
  static constexpr size_t kShare = 16;

  /// @param below  where blocks come from; outlives them, has the raw interface
  explicit BlockCache(c10::Allocator& below) : below_(below) {}

  c10::DataPtr allocate(size_t bytes) override;
  c10::DeleterFnPtr raw_deleter() const override { return &give_back; }
  void copy_data(void* to, const void* from, size_t bytes) const override;

  size_t held() const;  ///< bytes of large blocks that tensors have
  size_t kept() const;  ///< bytes of those that wait for a tensor

 private:
  /// Lies in front of a block's memory.
  struct alignas(64) Block {
    BlockCache* home;
    size_t bytes;
  };
  using Waiting = std::list<Block*>;

  static void give_back(void* memory);
  Block* made(size_t bytes);
  Block* waiting_of(size_t bytes);
  Waiting too_many();

  c10::Allocator& below_;
  mutable std::mutex mutex_;
  Waiting waiting_;                                                    // newest first
  std::unordered_map<size_t, std::deque<Waiting::iterator>> by_size_;  // newest first
  size_t held_ = 0;
  size_t kept_ = 0;
};

}  // namespace sterna::cli
