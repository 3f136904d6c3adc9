#pragma once

#include <cstdint>

#include <ATen/ATen.h>

namespace sterna::quant {

/// Bytes of one packed row of `k` codes.
inline int64_t packed_row_bytes(int64_t k, int64_t bits) {
  return (k * bits + 7) / 8;
}

/// Codes as a little-endian bit stream a row: code i takes the bits [i * bits, (i + 1) * bits), as
/// the unsigned number code - code_min; rows begin on a byte, the last byte's spare bits are 0.
/// @param codes  int8 [N, K], contiguous, 0 <= code - code_min < 2^bits
/// @param bits   1..8
/// @return       uint8 [N, packed_row_bytes(K, bits)]
at::Tensor pack_codes(const at::Tensor& codes, int64_t bits, int64_t code_min);

/// The inverse. @throws c10::Error  where spare bits are set or a code does not fit int8
/// @return  int8 [N, k]
at::Tensor unpack_codes(const at::Tensor& packed, int64_t k, int64_t bits, int64_t code_min);

}  // namespace sterna::quant
