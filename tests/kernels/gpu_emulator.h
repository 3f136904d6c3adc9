#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <ucontext.h>
#include <vector>

#include "kernels/gpu_layout.h"

/// kernels/gpu_device.h on the processor: the kernels' own code runs with a fiber for each thread
/// of a block. Tensor-core products follow the tables of registers in PTX's description of
/// mma.m16n8k32 (bytes) and mma.m16n8k16 (bf16); copies to shared memory arrive no earlier than
/// their wait, and shared memory begins as rubbish. What it cannot show: memory that threads touch
/// between barriers in another order than the fibers' (two are tried), and time.
namespace sterna::kernels::gpu {

constexpr int kWarpLanes = 32;

/// What a block's threads share.
class Block {
 public:
  /// @param backwards  threads run in descending order
  Block(int x, int y, int threads, bool backwards)
      : x_(x), y_(y), threads_(static_cast<size_t>(threads)), backwards_(backwards) {
    warps_.resize(threads_.size() / kWarpLanes);
  }

  void run(const std::function<void()>& body) {
    body_ = &body;
    running() = this;
    for (Fiber& thread : threads_)
      start(thread);
    for (size_t done = 0; done < threads_.size();)
      done = pass();
    running() = nullptr;
  }

  static Block*& running() {
    static Block* block = nullptr;
    return block;
  }

  int x() const { return x_; }
  int y() const { return y_; }
  int now() const { return now_; }

  void barrier() {
    if (++arrived_ == threads_.size()) {
      arrived_ = 0;
      ++barriers_;
    } else {
      wait_for(barriers_);
    }
  }

  /// What all lanes of the running thread's warp gave, once all have.
  template <class T>
  std::array<T, kWarpLanes> exchange(const T& mine) {
    static_assert(sizeof(T) <= sizeof(Slot));
    Warp& warp = warps_[static_cast<size_t>(now_ / kWarpLanes)];
    auto& slots = warp.slots[warp.generation % 2];
    std::memcpy(slots[static_cast<size_t>(now_ % kWarpLanes)].data(), &mine, sizeof mine);
    if (++warp.arrived == kWarpLanes) {
      warp.arrived = 0;
      ++warp.generation;
    } else {
      wait_for(warp.generation);
    }
    std::array<T, kWarpLanes> all;
    for (size_t lane = 0; lane < kWarpLanes; ++lane)
      std::memcpy(&all[lane], slots[lane].data(), sizeof(T));
    return all;
  }

  struct Copy {
    void* to;
    const void* from;
    bool there;
  };
  void copy_later(const Copy& copy) { thread().open.push_back(copy); }
  void commit() {
    thread().groups.push_back(std::move(thread().open));
    thread().open.clear();
  }
  void wait_copies(size_t but) {
    auto& groups = thread().groups;
    for (; groups.size() > but; groups.erase(groups.begin()))
      for (const Copy& copy : groups.front()) {
        std::memset(copy.to, 0, 16);
        if (copy.there)
          std::memcpy(copy.to, copy.from, 16);
      }
  }

 private:
  using Slot = std::array<uint32_t, 6>;
  struct Fiber {
    ucontext_t context;
    std::unique_ptr<char[]> stack;
    const int* watched = nullptr;  ///< waits until it is no longer `seen`
    int seen = 0;
    bool done = false;
    std::vector<Copy> open;
    std::vector<std::vector<Copy>> groups;
  };
  struct Warp {
    int arrived = 0;
    int generation = 0;
    std::array<Slot, kWarpLanes> slots[2];
  };

  Fiber& thread() { return threads_[static_cast<size_t>(now_)]; }

  static void enter() {
    Block& block = *running();
    (*block.body_)();
    block.thread().done = true;
    swapcontext(&block.thread().context, &block.scheduler_);
  }

  void start(Fiber& thread) {
    constexpr size_t kStack = size_t{1} << 16;
    thread.stack = std::make_unique<char[]>(kStack);
    getcontext(&thread.context);
    thread.context.uc_stack.ss_sp = thread.stack.get();
    thread.context.uc_stack.ss_size = kStack;
    thread.context.uc_link = nullptr;
    makecontext(&thread.context, &Block::enter, 0);
  }

  /// Runs every thread that can; how many are done.
  size_t pass() {
    size_t done = 0;
    const int count = static_cast<int>(threads_.size());
    for (int i = 0; i < count; ++i) {
      now_ = backwards_ ? count - 1 - i : i;
      if (!thread().done && (thread().watched == nullptr || *thread().watched != thread().seen))
        swapcontext(&scheduler_, &thread().context);
      done += thread().done ? 1 : 0;
    }
    return done;
  }

  void wait_for(const int& counter) {
    thread().watched = &counter;
    thread().seen = counter;
    swapcontext(&thread().context, &scheduler_);
    thread().watched = nullptr;
  }

  int x_;
  int y_;
  std::vector<Fiber> threads_;
  bool backwards_;
  std::vector<Warp> warps_;
  const std::function<void()>* body_ = nullptr;
  ucontext_t scheduler_;
  int now_ = 0;
  size_t arrived_ = 0;
  int barriers_ = 0;
};

inline int thread() {
  return Block::running()->now();
}
inline int block_x() {
  return Block::running()->x();
}
inline int block_y() {
  return Block::running()->y();
}
inline void sync() {
  Block::running()->barrier();
}
template <class T>
T of_lane(T value, int mask) {
  const int lane = thread() % kWarpLanes;
  return Block::running()->exchange(value)[static_cast<size_t>(lane ^ mask)];
}
inline void add_to(int32_t* sum, int32_t value) {
  *sum += value;
}
inline float quotient(float a, float b) {
  return a / b;
}
inline int nearest(float v) {
  return static_cast<int>(std::nearbyint(v));
}
inline Words load_once(const uint8_t* from) {
  return *reinterpret_cast<const Words*>(from);
}
inline void copy_later(void* shared, const void* from, bool there) {
  Block::running()->copy_later({shared, from, there});
}
inline void commit() {
  Block::running()->commit();
}
template <int Groups>
void wait() {
  Block::running()->wait_copies(Groups);
}

/// Registers of a lane: a[4] and b[2].
struct Operands {
  uint32_t a[4];
  uint32_t b[2];
};
using WarpOperands = std::array<Operands, kWarpLanes>;

/// A[row][input] of mma.m16n8k32: register 0 holds row lane / 4, inputs lane % 4 * 4 + byte; in
/// register 1 the row is 8 on, in register 2 the input is 16 on, in register 3 both are.
inline int byte_of_a(const WarpOperands& warp, int row, int input) {
  const Operands& lane = warp[static_cast<size_t>(row % 8 * 4 + input % 16 / 4)];
  return static_cast<int>(lane.a[row / 8 + input / 16 * 2] >> input % 4 * 8 & 255u);
}
/// B[input][column]: register 0 holds inputs lane % 4 * 4 + byte of column lane / 4; register 1 16
/// on.
inline int byte_of_b(const WarpOperands& warp, int input, int column) {
  const Operands& lane = warp[static_cast<size_t>(column * 4 + input % 16 / 4)];
  return static_cast<int8_t>(lane.b[input / 16] >> input % 4 * 8 & 255u);
}
/// The same of mma.m16n8k16: two bf16 a register, inputs lane % 4 * 2 + half, 8 on.
inline float brain(uint32_t pair, int half) {
  return float_of_bits(half == 0 ? pair << 16 : pair & 0xffff0000u);
}
inline float brain_of_a(const WarpOperands& warp, int row, int input) {
  const Operands& lane = warp[static_cast<size_t>(row % 8 * 4 + input % 8 / 2)];
  return brain(lane.a[row / 8 + input / 8 * 2], input % 2);
}
inline float brain_of_b(const WarpOperands& warp, int input, int column) {
  const Operands& lane = warp[static_cast<size_t>(column * 4 + input % 8 / 2)];
  return brain(lane.b[input / 8], input % 2);
}

inline WarpOperands operands(const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  return Block::running()->exchange(Operands{{a[0], a[1], a[2], a[3]}, {b[0], b[1]}});
}

/// C[row][column]: values 0 and 1 of row lane / 4, columns lane % 4 * 2 and the next; 2 and 3 of
/// the row 8 on.
inline void multiply(int32_t (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  const WarpOperands warp = operands(a, b);
  const int lane = thread() % kWarpLanes;
  for (int i = 0; i < 4; ++i)
    for (int input = 0; input < 32; ++input)
      c[i] += byte_of_a(warp, lane / 4 + i / 2 * 8, input) *
              byte_of_b(warp, input, lane % 4 * 2 + i % 2);
}
inline void multiply(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  const WarpOperands warp = operands(a, b);
  const int lane = thread() % kWarpLanes;
  for (int i = 0; i < 4; ++i)
    for (int input = 0; input < 16; ++input)
      c[i] += brain_of_a(warp, lane / 4 + i / 2 * 8, input) *
              brain_of_b(warp, input, lane % 4 * 2 + i % 2);
}

/// Runs a kernel's blocks one after the other. @param body  given the block's shared memory
template <class Kernel, class Body>
void launch(int64_t blocks_x, int64_t blocks_y, bool backwards, const Body& body) {
  for (int64_t y = 0; y < blocks_y; ++y) {
    for (int64_t x = 0; x < blocks_x; ++x) {
      const auto shared = std::make_unique<typename Kernel::Shared>();
      std::memset(static_cast<void*>(shared.get()), 0xcd, sizeof *shared);
      Block block(static_cast<int>(x), static_cast<int>(y), Kernel::kThreads, backwards);
      block.run([&] { body(*shared); });
    }
  }
}

}  // namespace sterna::kernels::gpu
