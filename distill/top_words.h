#pragma once

#include <ATen/ATen.h>

namespace sterna::distill {

using at::Tensor;

/// A teacher's distribution as its K likeliest words and one bucket for all others. What a
/// divergence compares are these K + 1 probabilities p, r with the student's q, s of the same:
///   kl = sum over the K words of p log(p / q)  +  r log(r / s),   r = 1 - sum p,  s = 1 - sum q
/// and the others likewise. Value and gradient are those of a teacher over all words that spreads r
/// as the student spreads s: how the student divides the rest is not taught.
struct TopWords {
  Tensor ids;    ///< int64 [..., K], each word once
  Tensor log_p;  ///< fp32 [..., K + 1]: of these words, likeliest first, and of the rest

  bool defined() const { return ids.defined(); }
};

/// @param logits  [N, V], V > k > 0
TopWords top_words(const Tensor& logits, int64_t k);

/// The teacher over all words that stands for `top` beside these logits of the student.
/// @param top      of N tokens
/// @param student  [N, V]
/// @param out      fp32 [N, V]: log probabilities
void spread_rest(const TopWords& top, const Tensor& student, Tensor& out);

}  // namespace sterna::distill
