// LoRA (Hu et al., arXiv:2106.09685) as PEFT computes it:
//   adapter(x) = (alpha / rank) B (A x),   A [rank, K], B [N, rank]
// A starts uniform in +-1/sqrt(K) (Kaiming's with a = sqrt 5), B at zero. No dropout: the base is
// the same few levels in every step, and nothing random is left in a forward pass.
#include <cmath>

#include <ATen/CPUGeneratorImpl.h>

#include "quant/adapter.h"
#include "quant/linear.h"
#include "recipes/fnv.h"
#include "recipes/user_error.h"

namespace sterna::quant {
namespace {

class Lora final : public Adapter {
 public:
  struct Config {
    int64_t rank = 16;
    double alpha = 16;

    template <class Visitor>
    void fields(Visitor& v) {
      using recipes::Range;
      v("rank", rank, "rows of A, columns of B", Range{int64_t{1}, int64_t{1} << 16});
      v("alpha", alpha, "the correction is multiplied with alpha / rank", Range{0.0, 1e6});
    }
  };

  explicit Lora(const Config& config) : rank_(config.rank), scale_(config.alpha / rank_) {}

  void attach(const std::string& module, int64_t n, int64_t k) override {
    if (rank_ > std::min(n, k))
      throw recipes::UserError("lora: rank " + std::to_string(rank_) + " is beyond the " +
                               std::to_string(std::min(n, k)) +
                               " that a matrix of this shape can have");
    a_.name = module + ".lora_A";
    b_.name = module + ".lora_B";
    inputs_ = k;
    outputs_ = n;
  }

  std::vector<AdapterMatrix> matrices() override {
    return {{"lora_A.weight", {rank_, inputs_}, &a_.weight, &a_.grad},
            {"lora_B.weight", {outputs_, rank_}, &b_.weight, &b_.grad}};
  }

  std::vector<Tensor> initial(uint64_t seed) const override {
    const double bound = 1 / std::sqrt(static_cast<double>(inputs_));
    auto generator = at::make_generator<at::CPUGeneratorImpl>(seed ^ recipes::fnv1a(a_.name));
    return {at::empty({rank_, inputs_}, at::kFloat).uniform_(-bound, bound, generator),
            at::zeros({outputs_, rank_}, at::kFloat)};
  }

  Tensor forward(const Tensor& x) const override { return b_.forward(a_.forward(x)).mul(scale_); }

  Tensor delta() const override {
    return at::mm(b_.weight.to(at::kFloat), a_.weight.to(at::kFloat)).mul_(scale_);
  }

 private:
  int64_t rank_;
  double scale_;
  int64_t inputs_ = 0;
  int64_t outputs_ = 0;
  Linear a_;  // without a bias, and never adapted themselves
  Linear b_;
};

}  // namespace

void add_lora(recipes::Registry<Adapter>& r) {
  r.add<Lora>("lora", "two thin matrices, B A x times alpha / rank");
}

}  // namespace sterna::quant
