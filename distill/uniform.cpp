// Every labelled token counts the same.

#include "distill/weighting.h"

namespace sterna::distill {
namespace {

class Uniform final : public TokenWeighting {
 public:
  struct Config {
    bool mask_ignored = true;

    template <class Visitor>
    void fields(Visitor& v) {
      v("mask_ignored", mask_ignored, "false: tokens without a label count too (LLM-QAT, TSLD)");
    }
  };

  explicit Uniform(const Config& config) : config_(config) {}

  bool needs_teacher() const override { return false; }

  Tensor weights(const TokenStats& tokens) const override {
    return counted(tokens.labelled).to(at::kDouble);
  }

  double count(const Tensor& labelled) const override {
    return static_cast<double>(counted(labelled).sum().item<int64_t>());
  }

 private:
  Tensor counted(const Tensor& labelled) const {
    return config_.mask_ignored ? labelled : at::ones_like(labelled);
  }

  Config config_;
};

}  // namespace

void add_uniform(recipes::Registry<TokenWeighting>& r) {
  r.add<Uniform>("uniform", "every labelled token alike");
}

}  // namespace sterna::distill
