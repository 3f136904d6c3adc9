// Every key and value kept densely, after RoPE; buffers grow by doubling.
#include <ATen/ops/scaled_dot_product_attention.h>

#include "kvcache/cache.h"
#include "kvcache/mask.h"

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
  explicit Full(std::shared_ptr<const Attention> attention)
      : attention_(std::move(attention)),
        memo_(attention_->rope),
        keys_(attention_->windows.size()),
        values_(attention_->windows.size()) {}

  Tensor attend(int64_t layer,
                const Tensor& q,
                const Tensor& k,
                const Tensor& v,
                const Tensor& positions) override {
    const at::NoGradGuard no_grad;  // what is stored is never trained through
    const int64_t tokens = q.size(2);
    const int64_t window = attention_->windows.at(layer);
    Tensor keys = keys_.at(layer).append(memo_.rotated(k, positions));
    Tensor values = values_.at(layer).append(v);
    if (window > 0 && keys.size(2) > window + tokens - 1) {
      // What no query of this call sees any more.
      const int64_t kept = window + tokens - 1;
      keys = keys.narrow(2, keys.size(2) - kept, kept);
      values = values.narrow(2, values.size(2) - kept, kept);
    }
    const Sight sight{tokens, keys.size(2), window, {}};
    const bool causal = sight.slots == tokens && only_causal(sight);
    std::optional<Tensor> mask;
    if (tokens > 1 && !causal)
      mask = visible(sight, q.device());
    return at::scaled_dot_product_attention(memo_.rotated(q, positions),
                                            keys,
                                            values,
                                            mask,
                                            /*dropout_p=*/0.0,
                                            /*is_causal=*/causal && tokens > 1,
                                            /*scale=*/std::nullopt,
                                            /*enable_gqa=*/q.size(1) != k.size(1));
  }

  int64_t length() const override { return values_.empty() ? 0 : values_.back().used; }

 private:
  std::shared_ptr<const Attention> attention_;
  RopeMemo memo_;
  std::vector<Store> keys_;
  std::vector<Store> values_;
};

}  // namespace

std::unique_ptr<Cache> make_full(std::shared_ptr<const Attention> attention) {
  return std::make_unique<Full>(std::move(attention));
}

}  // namespace sterna::kvcache
