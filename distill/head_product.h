#pragma once

#include <cstdint>

#include <ATen/ATen.h>

namespace sterna::distill {

using at::Tensor;

/// Tokens whose logits may exist at a time where the recipe leaves it to the program: as many as
/// 224 MB hold, at least 16.
/// @param word  bytes of one word's logits, all models together
int64_t affordable_tokens(int64_t vocab, int64_t word);

inline constexpr int64_t kManyTokens = 512;  ///< more at a time gain nothing

/// out = hidden * head^T for some tokens, in the head's dtype.
void logits_into(const Tensor& out, const Tensor& hidden, const Tensor& head);

/// head_grad += d_logits^T hidden
/// @param head_grad  fp32 [V, D]
void add_head_gradient(Tensor& head_grad, const Tensor& d_logits, const Tensor& hidden);

}  // namespace sterna::distill
