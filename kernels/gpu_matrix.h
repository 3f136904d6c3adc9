#pragma once

#include <cstdint>

#include "kernels/packed_matrix.h"
#include "kernels/status.h"

#ifdef __CUDACC__
#define STERNA_BOTH __host__ __device__ __forceinline__
#define STERNA_GPU __device__ __forceinline__
#else
#define STERNA_BOTH inline
#define STERNA_GPU inline
#endif
#ifdef __CUDA_ARCH__
#define STERNA_UNROLL _Pragma("unroll")
#define STERNA_ROLLED _Pragma("unroll 1")
#else
#define STERNA_UNROLL
#define STERNA_ROLLED
#endif

namespace sterna::kernels {

constexpr int kStepInputs = 32;  ///< inputs of one tensor-core product of bytes
constexpr int kUnitBytes = 512;  ///< 16 bytes for each lane of a warp

/// A packed matrix in the order in which warps read it, so that a lane's 16 bytes are what it feeds
/// to tensor cores (gpu_layout.h):
///   codes   tiles of 16 outputs, one after the other; a tile's units of 16 x (256 / bits) inputs,
///           512 bytes each; inputs and outputs past the last are zeros
///   scales  [tile][G][16], bf16 or fp32 as PackedMatrix stores them
///   zeros   [tile][G][16] int16, where they differ
struct GpuMatrix {
  int64_t n = 0;
  int64_t k = 0;
  int64_t group = 0;
  CodeFormat format = CodeFormat::kTwoBit;
  bool half_scales = false;
  bool own_zeros = false;
  int32_t zero = 0;
  float levels[16] = {};
  const uint8_t* data = nullptr;  ///< aligned to 16 bytes

  STERNA_BOTH int bits() const {
    return format == CodeFormat::kTwoBit ? 2 : format == CodeFormat::kEightBit ? 8 : 4;
  }
  STERNA_BOTH int64_t groups() const { return group > 0 ? k / group : 0; }
  STERNA_BOTH int64_t tiles() const { return (n + kPanelRows - 1) / kPanelRows; }
  STERNA_BOTH int64_t unit_inputs() const { return 256 / bits(); }
  STERNA_BOTH int64_t units() const { return (k + unit_inputs() - 1) / unit_inputs(); }  ///< a tile
  STERNA_BOTH int64_t scales_at() const { return tiles() * units() * kUnitBytes; }
  STERNA_BOTH int64_t zeros_at() const {
    return scales_at() + tiles() * groups() * kPanelRows * (half_scales ? 2 : 4);
  }
  STERNA_BOTH int64_t bytes() const {
    return zeros_at() + (own_zeros ? tiles() * groups() * kPanelRows * 2 : 0);
  }
};

/// What repack_for_gpu() will make of `w`: all but `data`, for which bytes() says the room.
/// @return  kUnsupported for groups that are neither multiples of 32 nor all of K
Status plan_for_gpu(const PackedMatrix& w, GpuMatrix* plan);

/// Writes bytes() to `data`, in the host's memory. @param w  what `plan` was made of
void repack_for_gpu(const PackedMatrix& w, const GpuMatrix& plan, uint8_t* data);

}  // namespace sterna::kernels
