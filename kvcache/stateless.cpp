// Attention over the tokens of one call: softmax(q k^T / sqrt(d), causal) v.
#include <ATen/ops/scaled_dot_product_attention.h>

#include "kvcache/cache.h"
#include "kvcache/mask.h"

namespace sterna::kvcache {
namespace {

class Stateless final : public Cache {
 public:
  Stateless(std::shared_ptr<const Attention> attention, Tensor documents)
      : attention_(std::move(attention)), memo_(attention_->rope), masks_(std::move(documents)) {}

  Tensor attend(int64_t layer,
                const Tensor& q,
                const Tensor& k,
                const Tensor& v,
                const Tensor& positions) override {
    const Tensor& mask = masks_.additive(q, attention_->windows.at(layer));
    // The fused CPU kernel reads shared key heads in place; expanding them first is slower.
    return at::scaled_dot_product_attention(
        memo_.rotated(q, positions),
        memo_.rotated(k, positions),
        v,
        mask.defined() ? std::optional<Tensor>(mask) : std::nullopt,
        /*dropout_p=*/0.0,
        /*is_causal=*/!mask.defined() && q.size(2) > 1,
        /*scale=*/std::nullopt,
        /*enable_gqa=*/q.size(1) != k.size(1));
  }

  int64_t length() const override { return 0; }

 private:
  std::shared_ptr<const Attention> attention_;
  RopeMemo memo_;
  Masks masks_;
};

}  // namespace

std::unique_ptr<Cache> make_stateless(std::shared_ptr<const Attention> attention,
                                      Tensor documents) {
  return std::make_unique<Stateless>(std::move(attention), std::move(documents));
}

}  // namespace sterna::kvcache
