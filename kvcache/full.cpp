// Every key and value kept densely, after RoPE; buffers grow by doubling.
#include <ATen/Parallel.h>
#include <ATen/ops/scaled_dot_product_attention.h>

#include "kernels/attend.h"
#include "kvcache/cache.h"
#include "kvcache/mask.h"

namespace sterna::kvcache {
namespace {

constexpr int64_t kFirstCapacity = 256;
// Values that a thread multiplies at least; below, calling another one takes longer.
constexpr int64_t kWorkPerTask = int64_t{1} << 16;

// Keys or values of one layer, [B, J, capacity, d]; the first `used` slots hold tokens.
struct Store {
  Tensor slots;
  int64_t used = 0;

  // Where the tokens of x [B, J, T, d] go.
  Tensor grow(const Tensor& x) {
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
    used = needed;
    return slots.narrow(2, used - x.size(2), x.size(2));
  }

  Tensor last(int64_t count) const { return slots.narrow(2, used - count, count); }

  // The last `count` slots of one head of one sequence; pairs count through both.
  template <class T>
  const T* last(int64_t pair, int64_t count) const {
    const int64_t d = slots.size(3);
    return static_cast<const T*>(slots.const_data_ptr()) +
           (pair * slots.size(2) + used - count) * d;
  }
};

// softmax(q k^T / sqrt(d)) v of one new token that sees the last `slots`.
// q [B, 1, H, d], contiguous
template <class T>
void attend_one(
    const Tensor& q, const Store& keys, const Store& values, int64_t slots, Tensor& out) {
  const int64_t pairs = keys.slots.size(0) * keys.slots.size(1);
  const int64_t heads = q.size(2) / keys.slots.size(1);
  const int64_t d = q.size(3);
  const kernels::AttendShape shape{heads, slots, d, 1.0f / std::sqrt(static_cast<float>(d))};
  const T* from = static_cast<const T*>(q.const_data_ptr());
  T* to = static_cast<T*>(out.mutable_data_ptr());
  const int64_t grain = std::max<int64_t>(kWorkPerTask / (heads * slots * d), 1);
  at::parallel_for(0, pairs, grain, [&](int64_t begin, int64_t end) {
    std::vector<float> scratch(static_cast<size_t>(kernels::attend_scratch(shape)));
    for (int64_t pair = begin; pair < end; ++pair)
      kernels::attend(shape,
                      from + pair * heads * d,
                      keys.last<T>(pair, slots),
                      values.last<T>(pair, slots),
                      scratch.data(),
                      to + pair * heads * d);
  });
}

bool kernel_attends(const Tensor& q) {
  return q.size(2) == 1 && q.device().is_cpu() &&
         (q.scalar_type() == at::kFloat || q.scalar_type() == at::kBFloat16);
}

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
    const int64_t window = attention_->windows.at(layer);
    Store& keys = keys_.at(layer);
    Store& values = values_.at(layer);
    Tensor new_keys = keys.grow(k);
    memo_.rotate_into(k, positions, new_keys);
    values.grow(v).copy_(v);
    // What no query of this call sees any more is left out.
    const int64_t seen = window > 0 ? std::min(window + q.size(2) - 1, keys.used) : keys.used;
    const Tensor turned = memo_.rotated(q, positions);
    return kernel_attends(q) ? newest(turned, keys, values, seen)
                             : several(turned, keys.last(seen), values.last(seen), window);
  }

  int64_t length() const override { return values_.empty() ? 0 : values_.back().used; }

 private:
  static Tensor newest(const Tensor& q, const Store& keys, const Store& values, int64_t seen) {
    const Tensor tokens = q.transpose(1, 2).contiguous();
    Tensor out = at::empty(tokens.sizes(), tokens.options());
    if (q.scalar_type() == at::kFloat)
      attend_one<float>(tokens, keys, values, seen, out);
    else
      attend_one<kernels::Bf16>(tokens, keys, values, seen, out);
    return out.transpose(1, 2);
  }

  Tensor several(const Tensor& q, const Tensor& keys, const Tensor& values, int64_t window) {
    const int64_t tokens = q.size(2);
    const Sight sight{tokens, keys.size(2), window, {}};
    const bool causal = sight.slots == tokens && only_causal(sight);
    std::optional<Tensor> mask;
    if (tokens > 1 && !causal)
      mask = this->mask(sight, q);
    return at::scaled_dot_product_attention(q,
                                            keys,
                                            values,
                                            mask,
                                            /*dropout_p=*/0.0,
                                            /*is_causal=*/causal && tokens > 1,
                                            /*scale=*/std::nullopt,
                                            /*enable_gqa=*/q.size(1) != keys.size(1));
  }

  // The layers of one call share it.
  const Tensor& mask(const Sight& sight, const Tensor& q) {
    Tensor& made = masks_[sight.window];
    if (!made.defined() || made.size(2) != sight.tokens || made.size(3) != sight.slots ||
        made.scalar_type() != q.scalar_type())
      made = additive_mask(sight, q);
    return made;
  }

  std::shared_ptr<const Attention> attention_;
  RopeMemo memo_;
  std::vector<Store> keys_;
  std::vector<Store> values_;
  std::map<int64_t, Tensor> masks_;  // by window
};

}  // namespace

std::unique_ptr<Cache> make_full(std::shared_ptr<const Attention> attention) {
  return std::make_unique<Full>(std::move(attention));
}

}  // namespace sterna::kvcache
