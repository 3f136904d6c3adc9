// Attention over the tokens of one call: softmax(q k^T / sqrt(d), causal) v.
#include <ATen/ops/scaled_dot_product_attention.h>

#include "kvcache/cache.h"

namespace sterna::kvcache {
namespace {

class Stateless final : public Cache {
 public:
  explicit Stateless(std::shared_ptr<const Rope> rope) : memo_(std::move(rope)) {}

  Tensor attend(int64_t /*layer*/,
                const Tensor& q,
                const Tensor& k,
                const Tensor& v,
                const Tensor& positions) override {
    const RopeTable& table = memo_.table(positions, q.scalar_type());
    // The fused CPU kernel reads shared key heads in place; expanding them first is slower.
    return at::scaled_dot_product_attention(rotate(q, table),
                                            rotate(k, table),
                                            v,
                                            /*attn_mask=*/{},
                                            /*dropout_p=*/0.0,
                                            /*is_causal=*/q.size(2) > 1,
                                            /*scale=*/std::nullopt,
                                            /*enable_gqa=*/q.size(1) != k.size(1));
  }

  int64_t length() const override { return 0; }

 private:
  RopeMemo memo_;
};

}  // namespace

std::unique_ptr<Cache> make_stateless(std::shared_ptr<const Rope> rope) {
  return std::make_unique<Stateless>(std::move(rope));
}

}  // namespace sterna::kvcache
