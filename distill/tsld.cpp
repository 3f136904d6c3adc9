// Token-Scaled Logit Distillation (Kim et al., NeurIPS 2023, arXiv:2308.06744).
//
// Tokens that the teacher itself predicts badly count more:
//   weight = softmax over the sequence of (teacher's cross-entropy with the label / temperature)
//
// Weights add up to 1 per sequence and the count is the number of sequences with a label, so the
// loss does not depend on the batch size. The published code sums over the micro-batch instead (at
// its batch of 4, its loss is 4 times ours: hence the shorthand's weight of 4) and gives weight to
// unlabelled tokens; official_sum does both, for parity runs.

#include "distill/weighting.h"

namespace sterna::distill {
namespace {

class Tsld final : public TokenWeighting {
 public:
  struct Config {
    double temperature = 10.0;
    bool mask_ignored = true;
    bool official_sum = false;

    template <class Visitor>
    void fields(Visitor& v) {
      v("temperature",
        temperature,
        "large: every token alike; small: only the hardest tokens",
        recipes::Range{1e-3, 1e6});
      v("mask_ignored", mask_ignored, "false: tokens without a label take part in the softmax");
      v("official_sum",
        official_sum,
        "the published code: sum over each micro-batch, nothing masked");
    }
  };

  explicit Tsld(const Config& config) : config_(config) {}

  bool needs_teacher() const override { return true; }

  Tensor weights(const TokenStats& tokens) const override {
    const Tensor hard = tokens.teacher_label_ce / config_.temperature;
    if (!masked())
      return hard.softmax(-1);
    // A finite floor, not -inf: a sequence without labels must give zeros, not 0 / 0.
    return hard.masked_fill(~tokens.labelled, -1e30).softmax(-1) * tokens.labelled;
  }

  double count(const Tensor& labelled) const override {
    if (config_.official_sum)
      return 1;
    const Tensor sequences = masked() ? labelled.any(-1) : at::ones_like(labelled.select(1, 0));
    return static_cast<double>(sequences.sum().item<int64_t>());
  }

 private:
  bool masked() const { return config_.mask_ignored && !config_.official_sum; }

  Config config_;
};

}  // namespace

void add_tsld(recipes::Registry<TokenWeighting>& r) {
  r.add<Tsld>("tsld", "tokens the teacher finds hard count more (arXiv:2308.06744)");
}

}  // namespace sterna::distill
