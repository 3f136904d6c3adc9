#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "trainer/io/tensor_file.h"

namespace sterna::io {

/// A block of a GGUF type in parts. Element i of sub-block k is (d scale[k]) q[i] - m min[k], each
/// product and the difference rounded to fp32; types without sub-blocks have one, with scale 1.
struct GgmlBlock {
  std::array<int8_t, 256> q{};  ///< what d is multiplied with: Q4_0's -8 and the like are applied
  std::array<int8_t, 16> scale{};
  std::array<int8_t, 16> min{};
  float d = 0;  ///< d and m are halves
  float m = 0;
};

/// Elements that share scale and min.
int64_t sub_block_elements(Dtype dtype);

/// Reads a block of any type that GGUF files have blocks of.
/// @param from  bytes_of(dtype, block_elements(dtype))
void unpack_block(Dtype dtype, const std::byte* from, GgmlBlock& block);

/// @param out  block_elements(dtype) values, bit for bit as ggml defines them
void block_values(Dtype dtype, const GgmlBlock& block, float* out);

/// The smallest and the largest q that a type holds.
struct CodeRange {
  int least;
  int most;
};
CodeRange code_range(Dtype dtype);

/// Writes a block of Q4_0, Q5_0, Q8_0, Q2_0, TQ1_0, TQ2_0, Q2_K or Q4_K; every part must be what
/// unpack_block() could give.
void pack_block(Dtype dtype, const GgmlBlock& block, std::byte* to);

}  // namespace sterna::io
