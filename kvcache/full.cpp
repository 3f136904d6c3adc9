// Every key and value kept densely, after RoPE; buffers grow by doubling.
#include <ATen/ops/scaled_dot_product_attention.h>

#include "kvcache/cache.h"

namespace sterna::kvcache {
namespace {

constexpr int64_t kFirstCapacity = 256;

// Keys or values of one layer, [B, J, capacity, d]; the first `used` slots hold tokens.
struct Store {
  Tensor slots;
  int64_t used = 0;

  Tensor append(const Tensor& x) {
    const int64_t needed = used + x.size(2);
    if (!slots.defined() || needed > slots.size(2)) {
      const int64_t doubled = slots.defined() ? 2 * slots.size(2) : kFirstCapacity;
      Tensor larger = at::empty({x.size(0), x.size(1), std::max(needed, doubled), x.size(3)},
                                x.options().requires_grad(false));
      if (used > 0) {
        larger.narrow(2, 0, used).copy_(slots.narrow(2, 0, used));
      }
      slots = larger;
    }
    slots.narrow(2, used, x.size(2)).copy_(x);
    used = needed;
    return slots.narrow(2, 0, used);
  }
};

class Full final : public Cache {
 public:
  Full(std::shared_ptr<const Rope> rope, int64_t layers)
      : memo_(std::move(rope)), keys_(layers), values_(layers) {}

  Tensor attend(int64_t layer,
                const Tensor& q,
                const Tensor& k,
                const Tensor& v,
                const Tensor& positions) override {
    const at::NoGradGuard no_grad;  // what is stored is never trained through
    const RopeTable& table = memo_.table(positions, q.scalar_type());
    const int64_t tokens = q.size(2);
    const Tensor keys = keys_.at(layer).append(rotate(k, table));
    const Tensor values = values_.at(layer).append(v);
    const bool first = keys.size(2) == tokens;
    std::optional<Tensor> mask;
    if (!first && tokens > 1) {
      mask = at::ones({tokens, keys.size(2)}, q.options().dtype(at::kBool))
                 .tril(keys.size(2) - tokens);
    }
    return at::scaled_dot_product_attention(rotate(q, table),
                                            keys,
                                            values,
                                            mask,
                                            /*dropout_p=*/0.0,
                                            /*is_causal=*/first && tokens > 1,
                                            /*scale=*/std::nullopt,
                                            /*enable_gqa=*/q.size(1) != k.size(1));
  }

  int64_t length() const override { return values_.empty() ? 0 : values_.back().used; }

 private:
  RopeMemo memo_;
  std::vector<Store> keys_;
  std::vector<Store> values_;
};

}  // namespace

std::unique_ptr<Cache> make_full(std::shared_ptr<const Rope> rope, int64_t layers) {
  return std::make_unique<Full>(std::move(rope), layers);
}

}  // namespace sterna::kvcache
