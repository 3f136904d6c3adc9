#include "distill/head_product.h"

#include <algorithm>

namespace sterna::distill {
namespace {

constexpr int64_t kLogitBytes = 224'000'000;  // student's and teacher's buffer together
constexpr int64_t kFewTokens = 16;            // fewer starve the matrix product
constexpr int64_t kHeadRows = 8192;           // of the head's gradient that are rounded at a time

}  // namespace

int64_t affordable_tokens(int64_t vocab, int64_t word) {
  return std::max(kFewTokens, kLogitBytes / (vocab * word));
}

void logits_into(const Tensor& out, const Tensor& hidden, const Tensor& head) {
  Tensor target = out;
  at::mm_out(target, hidden.to(head.scalar_type()), head.t());
}

void add_head_gradient(Tensor& head_grad, const Tensor& d_logits, const Tensor& hidden) {
  if (d_logits.scalar_type() == at::kFloat) {
    head_grad.addmm_(d_logits.t(), hidden.to(at::kFloat));
    return;
  }
  // A low-precision product is rounded before it is added: by parts of the head, so that no second
  // [V, D] exists.
  const Tensor narrow_hidden = hidden.to(d_logits.scalar_type());
  const int64_t vocab = head_grad.size(0);
  for (int64_t row = 0; row < vocab; row += kHeadRows) {
    const int64_t rows = std::min(kHeadRows, vocab - row);
    head_grad.narrow(0, row, rows).add_(at::mm(d_logits.narrow(1, row, rows).t(), narrow_hidden));
  }
}

}  // namespace sterna::distill
