#pragma once

#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "recipes/components.h"

namespace sterna::distill {

using at::Tensor;

/// Hidden states compared layer by layer (L2L, as in TSLD's published code): the sum over sites of
///   weight * mean of (student - teacher)^2
/// Sites are named as Hugging Face's modules whose output they are: "embed_tokens", "layers.0" to
/// "layers.L-2", and "norm", which stands for the last block: its output is taken behind the norm.
class HiddenLoss {
 public:
  /// Reads `[[kd.hidden]]`: the first table whose `match` fits a site gives its weight.
  explicit HiddenLoss(recipes::Section kd);

  bool wanted() const { return !rules_.empty(); }
  double weight(const std::string& site) const;  ///< 0: not compared

  /// @throws recipes::RecipeError  for a `match` that fits none of `sites`
  void require_matches(const std::vector<std::string>& sites) const;

 private:
  struct Rule {
    std::string match;
    double weight;
    std::string where;
  };
  std::vector<Rule> rules_;
};

/// The keys of `[[kd.hidden]]`, for `sterna list`.
std::vector<recipes::Field> hidden_fields();

/// Every site of a decoder of that many blocks, in order; part 0 is the embedding, 1 to L the
/// blocks, L + 1 the final norm.
std::vector<std::string> hidden_sites(int64_t layers);
std::string hidden_site(int64_t part, int64_t layers);  ///< "": the last block, see "norm"

/// Gradient of scale * (sum over tokens of mean over D of (student - teacher)^2), and that sum,
/// added to `sum`.
/// @param student, teacher  [B, T, D]
/// @param sum               fp64 scalar
/// @return                  [B, T, D], the student's dtype
Tensor mean_square_gradient(const Tensor& student,
                            const Tensor& teacher,
                            double scale,
                            const Tensor& sum);

}  // namespace sterna::distill
