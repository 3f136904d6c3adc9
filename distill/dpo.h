#pragma once

#include <vector>

#include "distill/head_inputs.h"
#include "recipes/components.h"

namespace sterna::distill {

/// Direct preference optimization (Rafailov et al., arXiv:2305.18290): of two answers to a prompt
/// the student is to prefer the chosen one to the rejected one more than its reference, the
/// teacher, does.
///   margin = beta [ (log p(chosen) - log ref(chosen)) - (log p(rejected) - log ref(rejected)) ]
///   loss   = mean over pairs of -log sigmoid(margin)
/// Log probabilities are sums over the labelled tokens. QDPO (Lee et al., ACL 2024) is the same
/// with the full-precision model's answers chosen, the quantized one's rejected, and the quantized
/// one at the start as reference.
class Dpo {
 public:
  /// Reads `kd.dpo`: wanted where the recipe holds it.
  explicit Dpo(recipes::Section kd);

  bool wanted() const { return wanted_; }
  double weight() const { return config_.weight; }

  /// What run() sums, in its order; only the first is minimised.
  static std::vector<std::string> names() { return {"dpo", "dpo_margin", "dpo_accuracy"}; }

  /// Pairs of which both answers have a token to predict.
  /// @param labels  int64 [B, T]; rows 2i and 2i + 1 are the chosen and the rejected answer
  double pairs(const Tensor& labels) const;

  /// Adds to what other terms made of the same micro-batch.
  /// @param total      pairs of the whole step
  /// @param chunk      tokens whose logits exist at a time; 0: chosen
  /// @param d_hidden   [B, T, D]
  /// @param head_grad  fp32 [V, D]; undefined where frozen
  /// @return           fp64 [3]
  Tensor run(
      const HeadInputs& in, double total, int64_t chunk, Tensor& d_hidden, Tensor& head_grad) const;

 private:
  friend std::vector<recipes::Field> dpo_fields();
  struct Config {
    double beta = 0.1;
    double weight = 1;

    template <class Visitor>
    void fields(Visitor& v) {
      v("beta", beta, "how soon a margin is large enough", recipes::Range{1e-6, 1e6});
      v("weight", weight, "factor of the loss", recipes::Range{0.0, 1e6});
    }
  };
  Config config_;
  bool wanted_;
};

/// The keys of `[kd.dpo]`, for `sterna list`.
std::vector<recipes::Field> dpo_fields();

}  // namespace sterna::distill
