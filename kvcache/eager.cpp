// Attention step by step, so that its probabilities can be looked at:
//   P = softmax_fp32(q k^T / sqrt(d) + causal mask),  context = P v
#include <cmath>
#include <limits>

#include "kvcache/cache.h"

namespace sterna::kvcache {
namespace {

class Eager final : public EagerAttention {
 public:
  Eager(std::shared_ptr<const Rope> rope, int64_t layers)
      : memo_(std::move(rope)), probabilities_(layers) {}

  Tensor attend(int64_t layer,
                const Tensor& q,
                const Tensor& k,
                const Tensor& v,
                const Tensor& positions) override {
    const RopeTable& table = memo_.table(positions, q.scalar_type());
    const int64_t heads = q.size(1);
    const int64_t tokens = q.size(2);
    const Tensor keys = rotate(k, table).repeat_interleave(heads / k.size(1), 1);
    const Tensor values = v.repeat_interleave(heads / v.size(1), 1);
    const Tensor scores = at::matmul(rotate(q, table), keys.transpose(2, 3)) /
                          std::sqrt(static_cast<double>(q.size(3)));
    const Tensor hidden = at::ones({tokens, tokens}, q.options().dtype(at::kBool)).triu(1);
    const Tensor p = scores.to(at::kFloat)
                         .masked_fill(hidden, -std::numeric_limits<float>::infinity())
                         .softmax(-1);
    probabilities_.at(layer) = p;
    return at::matmul(p.to(q.scalar_type()), values);
  }

  int64_t length() const override { return 0; }

  const Tensor& probabilities(int64_t layer) const override { return probabilities_.at(layer); }

 private:
  RopeMemo memo_;
  std::vector<Tensor> probabilities_;
};

}  // namespace

std::unique_ptr<EagerAttention> make_eager(std::shared_ptr<const Rope> rope, int64_t layers) {
  return std::make_unique<Eager>(std::move(rope), layers);
}

}  // namespace sterna::kvcache
