// What kernels ask of a GPU beyond C++, one function an instruction. tests/kernels/gpu_emulator.h
// has the same functions on the processor, so that tests run the kernels' own code there.
#pragma once

#include <cstdint>

#include <cuda_runtime_api.h>

#include "kernels/gpu_layout.h"

namespace sterna::kernels::gpu {

STERNA_GPU int thread() {
  return static_cast<int>(threadIdx.x);
}
STERNA_GPU int block_x() {
  return static_cast<int>(blockIdx.x);
}
STERNA_GPU int block_y() {
  return static_cast<int>(blockIdx.y);
}

STERNA_GPU void sync() {
  __syncthreads();
}

/// The value of the lane whose number differs by `mask`. All lanes of the warp call it.
template <class T>
STERNA_GPU T of_lane(T value, int mask) {
  return __shfl_xor_sync(0xffffffffu, value, mask);
}

STERNA_GPU void add_to(int32_t* sum, int32_t value) {
  atomicAdd(sum, value);
}

/// a / b and the nearest integer, ties to even, each rounded once.
STERNA_GPU float quotient(float a, float b) {
  return __fdiv_rn(a, b);
}
STERNA_GPU int nearest(float v) {
  return __float2int_rn(v);
}

/// Of memory that is read once.
STERNA_GPU Words load_once(const uint8_t* from) {
  Words to;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(to.w[0]), "=r"(to.w[1]), "=r"(to.w[2]), "=r"(to.w[3])
               : "l"(from));
  return to;
}

/// 16 bytes to shared memory, zeros where not `there`; done when wait() has said so.
STERNA_GPU void copy_later(void* shared, const void* from, bool there) {
  const auto to = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  const int bytes = there ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes)
               : "memory");
}
STERNA_GPU void commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
/// Until all but the last `Groups` committed groups of this thread's copies are there.
template <int Groups>
STERNA_GPU void wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(Groups) : "memory");
}

/// c += A B, unsigned by signed bytes: mma.m16n8k32.
STERNA_GPU void multiply(int32_t (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/// c += A B of bf16: mma.m16n8k16.
STERNA_GPU void multiply(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

}  // namespace sterna::kernels::gpu
