#include "distill/top_words.h"

#include <limits>
#include <tuple>

namespace sterna::distill {
namespace {

// Of a rest without mass: finite, so that nothing is subtracted from infinity.
constexpr double kNothing = -80;
constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

}  // namespace

TopWords top_words(const Tensor& logits, int64_t k) {
  TORCH_CHECK(logits.dim() == 2 && k > 0 && k < logits.size(1),
              "top_words: expected logits [N, V] and 0 < k < V, got ",
              logits.sizes(),
              " and ",
              k);
  const Tensor log_p = logits.to(at::kFloat).log_softmax(1);
  TopWords top;
  Tensor likeliest;
  std::tie(likeliest, top.ids) = log_p.topk(k, 1);
  const Tensor others = log_p.scatter(1, top.ids, kMinusInfinity);
  const Tensor rest = others.logsumexp({1}, /*keepdim=*/true).clamp_min(kNothing);
  top.log_p = at::cat({likeliest, rest}, 1);
  return top;
}

void spread_rest(const TopWords& top, const Tensor& student, Tensor& out) {
  const int64_t k = top.ids.size(1);
  out.copy_(student);
  out.scatter_(1, top.ids, kMinusInfinity);
  out.add_(top.log_p.narrow(1, k, 1) - out.logsumexp({1}, /*keepdim=*/true));
  out.scatter_(1, top.ids, top.log_p.narrow(1, 0, k));
}

}  // namespace sterna::distill
