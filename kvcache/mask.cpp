#include "kvcache/mask.h"

#include <limits>

namespace sterna::kvcache {

Tensor visible(const Sight& sight, at::Device device) {
  const auto whole = at::TensorOptions(device).dtype(at::kLong);
  // Slot of each query and of each key.
  const Tensor query = at::arange(sight.slots - sight.tokens, sight.slots, whole).unsqueeze(1);
  const Tensor key = at::arange(sight.slots, whole).unsqueeze(0);
  Tensor seen = key <= query;
  if (sight.window > 0)
    seen = seen.logical_and(key > query - sight.window);
  seen = seen.view({1, 1, sight.tokens, sight.slots});
  if (!sight.documents.defined())
    return seen;
  const Tensor same = sight.documents.unsqueeze(2) == sight.documents.unsqueeze(1);
  return seen.logical_and(same.unsqueeze(1));
}

Tensor additive_mask(const Sight& sight, const Tensor& like) {
  const Tensor hidden = visible(sight, like.device()).logical_not();
  return at::zeros(hidden.sizes(), like.options().requires_grad(false))
      .masked_fill_(hidden, -std::numeric_limits<double>::infinity());
}

bool only_causal(const Sight& sight) {
  return !sight.documents.defined() && (sight.window == 0 || sight.slots <= sight.window);
}

Tensor positions_in(const Tensor& documents) {
  TORCH_CHECK(documents.dim() == 2 && documents.scalar_type() == at::kLong,
              "documents: expected int64 [B, T], got ",
              documents.scalar_type(),
              " ",
              documents.sizes());
  const Tensor index = at::arange(documents.size(1), documents.options()).expand_as(documents);
  const Tensor starts = at::ones_like(documents, at::kBool);
  if (documents.size(1) > 1)
    starts.narrow(1, 1, documents.size(1) - 1)
        .copy_(documents.narrow(1, 1, documents.size(1) - 1) !=
               documents.narrow(1, 0, documents.size(1) - 1));
  const Tensor start = std::get<0>((index * starts).cummax(1));
  return index - start;
}

Sight Masks::sight(const Tensor& q, int64_t window) const {
  TORCH_CHECK(
      !documents_.defined() || (documents_.size(0) == q.size(0) && documents_.size(1) == q.size(2)),
      "attention: documents are ",
      documents_.defined() ? documents_.sizes() : at::IntArrayRef(),
      ", the queries ",
      q.sizes());
  return {q.size(2), q.size(2), window, documents_};
}

const Tensor& Masks::additive(const Tensor& q, int64_t window) {
  Tensor& mask = by_window_[window];
  const Sight now = sight(q, window);
  if (only_causal(now)) {
    mask = Tensor();
  } else if (!mask.defined() || mask.scalar_type() != q.scalar_type() ||
             mask.size(3) != q.size(2)) {
    mask = additive_mask(now, q);
  }
  return mask;
}

Tensor Masks::visible(const Tensor& q, int64_t window) const {
  return kvcache::visible(sight(q, window), q.device());
}

}  // namespace sterna::kvcache
