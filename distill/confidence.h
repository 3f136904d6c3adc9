#pragma once

#include <ATen/ATen.h>

namespace sterna::distill {

/// Mean over tokens of the largest probability, by chunks of tokens.
/// @param hidden  [B, T, D], B T > 0
/// @param head    [V, D]; the product is computed in its dtype
double mean_confidence(const at::Tensor& hidden, const at::Tensor& head);

}  // namespace sterna::distill
