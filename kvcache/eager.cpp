// Attention step by step, so that its probabilities can be looked at:
//   P = softmax_fp32(q k^T / sqrt(d) + mask),  context = P v
#include <cmath>
#include <limits>

#include "kvcache/cache.h"
#include "kvcache/mask.h"

namespace sterna::kvcache {
namespace {

class Eager final : public EagerAttention {
 public:
  Eager(std::shared_ptr<const Attention> attention, Tensor documents)
      : attention_(std::move(attention)),
        memo_(attention_->rope),
        masks_(std::move(documents)),
        probabilities_(attention_->windows.size()) {}

  Tensor attend(int64_t layer,
                const Tensor& q,
                const Tensor& k,
                const Tensor& v,
                const Tensor& positions) override {
    const int64_t share = q.size(1) / k.size(1);
    const Tensor keys = memo_.rotated(k, positions).repeat_interleave(share, 1);
    const Tensor values = v.repeat_interleave(share, 1);
    const Tensor scores = at::matmul(memo_.rotated(q, positions), keys.transpose(2, 3)) /
                          std::sqrt(static_cast<double>(q.size(3)));
    const Tensor hidden = masks_.visible(q, attention_->windows.at(layer)).logical_not();
    const Tensor p = scores.to(at::kFloat)
                         .masked_fill(hidden, -std::numeric_limits<float>::infinity())
                         .softmax(-1);
    probabilities_.at(layer) = p;
    return at::matmul(p.to(q.scalar_type()), values);
  }

  int64_t length() const override { return 0; }

  const Tensor& probabilities(int64_t layer) const override { return probabilities_.at(layer); }

 private:
  std::shared_ptr<const Attention> attention_;
  RopeMemo memo_;
  Masks masks_;
  std::vector<Tensor> probabilities_;
};

}  // namespace

std::unique_ptr<EagerAttention> make_eager(std::shared_ptr<const Attention> attention,
                                           Tensor documents) {
  return std::make_unique<Eager>(std::move(attention), std::move(documents));
}

}  // namespace sterna::kvcache
