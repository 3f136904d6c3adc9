#include "distill/confidence.h"

#include "distill/logits.h"

namespace sterna::distill {
namespace {

constexpr int64_t kChunk = 256;  // tokens whose logits exist at a time

}  // namespace

double mean_confidence(const Tensor& hidden, const Tensor& head) {
  const at::NoGradGuard no_grad;
  const Tensor rows = hidden.flatten(0, 1).to(head.scalar_type());
  const int64_t tokens = rows.size(0);
  double sum = 0;
  for (int64_t begin = 0; begin < tokens; begin += kChunk) {
    const int64_t count = std::min(kChunk, tokens - begin);
    const Tensor labels = at::full({count}, kIgnoreLabel, rows.options().dtype(at::kLong));
    const Logits logits{at::mm(rows.narrow(0, begin, count), head.t()), {}, labels};
    sum += logit_figures(logits).confidence().sum().item<double>();
  }
  return sum / static_cast<double>(tokens);
}

}  // namespace sterna::distill
