#pragma once

#include <optional>
#include <string>
#include <vector>

#include "quant/encoded.h"

namespace sterna::exporter {

/// A matrix as layouts of integers have it: value = (code - zero) * scale, one product.
struct IntegerCodes {
  int64_t bits = 0;       ///< of the container
  bool symmetric = true;  ///< codes are signed and there are no zeros
  int64_t group = 0;      ///< inputs per scale, K where a row shares one
  int64_t code_min = 0;   ///< -2^(bits - 1); of unsigned codes 0, but -128 of 8 bits
  at::Tensor codes;       ///< int8 [N, K]
  at::Tensor zeros;       ///< int8 [N, K / group], from code_min on like codes; or undefined
  at::Tensor scales;      ///< [N, K / group], in the dtype that they were trained in
};

/// Why a scheme is no integers times a scale in one of these containers, and what to do; nothing
/// where it is.
/// @param containers  bits, ascending
std::optional<std::string> why_no_integers(const quant::Encoded& scheme,
                                           const std::vector<int64_t>& containers);

/// Bits of the smallest container that holds a scheme; of one that why_no_integers() has nothing
/// against.
int64_t container_of(const quant::Encoded& scheme, const std::vector<int64_t>& containers);

/// @param name  of the tensor, for messages
/// @throws recipes::UserError  where the values do not fit, though the scheme does
IntegerCodes integer_codes(const quant::Encoded& encoded,
                           const std::vector<int64_t>& containers,
                           const std::string& name);

/// Rows of codes as words of 32 bits, a little-endian bit stream each, the last word padded with 0.
/// @param codes  int8 [R, C], contiguous
/// @return       int32 [R, ceil(C bits / 32)]
at::Tensor packed_words(const at::Tensor& codes, int64_t bits, int64_t code_min);

}  // namespace sterna::exporter
