#pragma once

#include <cstdint>

#include "quant/encoded.h"

namespace sterna::quant {

/// How gptq() goes through the inputs of a matrix.
struct GptqOrder {
  bool by_activation = false;  ///< those with the largest inputs first (act-order)
  double damp = 0.01;          ///< of the mean diagonal of the Hessian, added to all of it; > 0
  int64_t block = 128;         ///< inputs between two updates of the rest; changes speed alone
};

/// Rounds a matrix anew on the grid that its quantizer laid: one input after the other, the error
/// of each made up for by the weights not rounded yet (GPTQ, arXiv:2210.17323). Scales, zero points
/// and levels stay what they are, so groups keep theirs whatever the order (static groups).
///
/// @param w           fp32 [N, K], contiguous, on the CPU
/// @param grid        what the quantizer's encode() gave for w; codes are looked at nowhere
/// @param max_levels  the quantizer's: codes are code_min .. code_min + max_levels - 1
/// @param hessian     fp32 or fp64 [K, K]: sum of x^T x over calibration inputs x [1, K]
/// @throws c10::Error  where hessian is no sum of squares (not finite, or negative directions)
Encoded gptq(const Tensor& w,
             const Encoded& grid,
             int64_t max_levels,
             const Tensor& hessian,
             const GptqOrder& order = {});

}  // namespace sterna::quant
